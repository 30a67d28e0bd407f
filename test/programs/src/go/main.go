// A static Go program: goroutines on several threads, channels, garbage collection, maps, files, timers, panics, signals by the runtime.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

var failed bool

func check(ok bool, format string, arguments ...any) {
	if !ok {
		failed = true
		fmt.Fprintf(os.Stderr, "FAIL: "+format+"\n", arguments...)
	}
}

func goroutines() {
	const n = 1000
	results := make(chan int, 10)
	var wait sync.WaitGroup
	for i := 0; i < n; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			runtime.Gosched()
			results <- i * i
		}(i)
	}
	go func() { wait.Wait(); close(results) }()
	sum := 0
	for r := range results {
		sum += r
	}
	check(sum == 332833500, "sum %d", sum)

	var mutex sync.Mutex
	counter := 0
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			runtime.LockOSThread()
			for j := 0; j < 500; j++ {
				mutex.Lock()
				counter++
				mutex.Unlock()
			}
		}()
	}
	wait.Wait()
	check(counter == 4000, "counter %d", counter)
}

type node struct{ left, right *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}
func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func garbage() {
	var keep *node
	for i := 0; i < 20; i++ {
		t := tree(14)
		if i == 10 {
			keep = t
		}
		check(t.count() == 32767, "tree")
	}
	runtime.GC()
	check(keep.count() == 32767, "kept tree")
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	check(stats.NumGC > 0, "no collection")
}

// A loop without a call: only a signal (SIGURG) can take the processor away from it.
func preemption() {
	stop := make(chan bool)
	spinning := true
	for i := 0; i < runtime.GOMAXPROCS(0)+1; i++ {
		go func() {
			for x := 0; spinning; x++ {
			}
		}()
	}
	go func() { time.Sleep(20 * time.Millisecond); close(stop) }()
	select {
	case <-stop:
	case <-time.After(20 * time.Second):
		check(false, "no preemption")
	}
	spinning = false
}

func panics() {
	catch := func(f func()) (message string) {
		defer func() { message = fmt.Sprint(recover()) }()
		f()
		return
	}
	var p *node
	zero := 0
	check(strings.Contains(catch(func() { _ = p.left }), "nil pointer"), "nil pointer: by SIGSEGV")
	check(strings.Contains(catch(func() { _ = 1 / zero }), "divide"), "division: by SIGFPE")
	check(strings.Contains(catch(func() { _ = make([]int, 3)[zero+5] }), "out of range"), "index")
}

func files() {
	name := "go-file.txt"
	f, err := os.Create(name)
	check(err == nil, "%v", err)
	w := bufio.NewWriter(f)
	for i := 0; i < 20000; i++ {
		fmt.Fprintf(w, "line %d\n", i)
	}
	w.Flush()
	f.Close()
	data, err := os.ReadFile(name)
	check(err == nil && bytes.Count(data, []byte("\n")) == 20000, "%v", err)
	fmt.Printf("sha256 %x\n", sha256.Sum256(data))
	check(os.Remove(name) == nil, "remove")
	_, err = os.Stat(name)
	check(errors.Is(err, os.ErrNotExist), "%v", err)
}

func network() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		check(false, "%v", err)
		return
	}
	go func() {
		peer, err := listener.Accept()
		if err == nil {
			io.Copy(peer, peer)
			peer.Close()
		}
	}()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		check(false, "%v", err)
		return
	}
	fmt.Fprintln(client, "hello through the poller")
	line, _ := bufio.NewReader(client).ReadString('\n')
	check(line == "hello through the poller\n", "%q", line)
	client.Close()
	listener.Close()
}

func library() {
	fact := big.NewInt(1)
	for i := int64(2); i <= 200; i++ {
		fact.Mul(fact, big.NewInt(i))
	}
	fmt.Println("200! ends in", fact.String()[320:])
	m := map[string]int{}
	for i := 0; i < 10000; i++ {
		m[fmt.Sprint("key ", i)] = i
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	check(keys[0] == "key 0" && len(keys) == 10000, "map")
	text, _ := json.Marshal(map[string]any{"b": []int{1, 2}, "a": 1.5})
	fmt.Println(string(text))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(bytes.Repeat([]byte("margay "), 10000))
	z.Close()
	r, _ := gzip.NewReader(&packed)
	plain, _ := io.ReadAll(r)
	check(len(plain) == 70000, "gzip")
}

func signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
	select {
	case s := <-c:
		check(s == syscall.SIGUSR1, "%v", s)
	case <-time.After(10 * time.Second):
		check(false, "no signal")
	}
	before := time.Now()
	time.Sleep(15 * time.Millisecond)
	check(time.Since(before) >= 15*time.Millisecond, "sleep")
}

func main() {
	for _, t := range []struct {
		name string
		run  func()
	}{{"goroutines", goroutines}, {"garbage", garbage}, {"preemption", preemption}, {"panics", panics}, {"files", files}, {"network", network}, {"library", library}, {"signals", signals}} {
		t.run()
		fmt.Println(t.name, "done")
	}
	fmt.Println(os.Args[1:], runtime.GOOS, runtime.GOARCH)
	if failed {
		os.Exit(1)
	}
}
