import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NR } from "../../abi/nr.ts";
import { BASE, FakeMachine } from "../syscalls/fake-call.testing.ts";
import { formatEntry, formatResult } from "./format.ts";
import { bitNames } from "./flags.ts";
import { maskText, quote } from "./text.ts";

const machine = new FakeMachine();

/** The line of a call with these arguments and this result; `during` is what the call does to memory. */
function line(name: keyof typeof NR, args: (number | bigint)[], result: number, during: () => void = () => undefined): string {
  let text = "";
  machine.call.nr = NR[name];
  machine.run((c) => {
    const entry = formatEntry(c);
    during();
    text = formatResult(c, entry, result);
    return 0;
  }, ...args);
  return text;
}

describe("calls", () => {
  it("should name flags, paths and errors as strace does", () => {
    const path = machine.put(0, "/etc/ld.so.cache");
    expect(line("openat", [-100, path, 0o2000000], 3)).toBe('openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3');
    expect(line("openat", [5, path, 0o1101, 0o644], -2)).toBe('openat(5, "/etc/ld.so.cache", O_WRONLY|O_CREAT|O_TRUNC, 0644) = -1 ENOENT (No such file or directory)');
    expect(line("open", [path, 0o2], -13)).toBe('open("/etc/ld.so.cache", O_RDWR) = -1 EACCES (Permission denied)');
  });

  it("should show what is written before the call and what is read after it", () => {
    const data = machine.put(64, new TextEncoder().encode("a\tb\n".repeat(10)));
    expect(line("write", [1, data, 40], 40)).toBe(`write(1, "${"a\\tb\\n".repeat(8)}"..., 40) = 40`);
    expect(line("read", [0, BASE + 256, 100], 5, () => void machine.put(256, new TextEncoder().encode("hello")))).toBe('read(0, "hello", 100) = 5');
    expect(line("read", [0, BASE + 256, 100], -9)).toBe(`read(0, 0x${(BASE + 256).toString(16)}, 100) = -1 EBADF (Bad file descriptor)`);
  });

  it("should show memory calls with their rights and addresses", () => {
    expect(line("mmap", [0, 8192, 3, 0x22, -1, 0], 0x7f0000000000)).toBe("mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0) = 0x7f0000000000");
    expect(line("mprotect", [0x1000, 4096, 0], 0)).toBe("mprotect(0x1000, 4096, PROT_NONE) = 0");
    expect(line("mremap", [0x1000, 4096, 8192, 1, 0xdead], -12)).toBe("mremap(0x1000, 4096, 8192, MREMAP_MAYMOVE) = -1 ENOMEM (Not enough memory)");
    expect(line("madvise", [0x1000, 4096, 4], 0)).toBe("madvise(0x1000, 4096, MADV_DONTNEED) = 0");
  });

  it("should print structures that matter", () => {
    const time = machine.words(512, 1, 500);
    expect(line("nanosleep", [time, 0], 0)).toBe("nanosleep({tv_sec=1, tv_nsec=500}, NULL) = 0");
    const action = machine.words(528, 0x401000, 0x14000004, 0x402000, 1n << 1n);
    expect(line("rt_sigaction", [10, action, 0, 8], 0)).toBe("rt_sigaction(SIGUSR1, {sa_handler=0x401000, sa_mask=[INT], sa_flags=SA_SIGINFO|SA_RESTORER|SA_RESTART, sa_restorer=0x402000}, NULL, 8) = 0");
    const limits = machine.words(576, 8 * 2 ** 20, -1);
    expect(line("prlimit64", [0, 3, 0, BASE + 576], 0)).toBe("prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0");
    expect(limits).toBe(BASE + 576);
    const [one, two] = [machine.put(640, new TextEncoder().encode("ab")), machine.put(648, new TextEncoder().encode("cde"))];
    const vector = machine.words(656, one, 2, two, 3);
    expect(line("writev", [1, vector, 2], 5)).toBe('writev(1, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=3}], 2) = 5');
    expect(line("readv", [1, vector, 2], 3)).toBe('readv(1, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=3}], 2) = 3');
    const poll = machine.ints(704, 3, 0x0001_0001);
    expect(line("poll", [poll, 1, -1], 1)).toBe("poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLIN}])");
    expect(line("poll", [poll, 1, 10], 0)).toBe("poll([{fd=3, events=POLLIN}], 1, 10) = 0 (Timeout)");
  });

  it("should print futex as the operation has it", () => {
    expect(line("futex", [0x1000, 0x81, 1], 0)).toBe("futex(0x1000, FUTEX_WAKE_PRIVATE, 1) = 0");
    expect(line("futex", [0x1000, 0x80, 2, 0], -11)).toBe("futex(0x1000, FUTEX_WAIT_PRIVATE, 2, NULL) = -1 EAGAIN (Try again)");
    expect(line("futex", [0x1000, 0x189, 2, 0, 0, 0xffffffff], 0)).toBe("futex(0x1000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 2, NULL, 0xffffffff) = 0");
  });

  it("should show addresses of sockets", () => {
    const inet = machine.put(800, Uint8Array.from([2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    expect(line("connect", [3, inet, 16], -111)).toBe('connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 ECONNREFUSED (Connection refused)');
    const unix = machine.put(832, Buffer.from("\x01\x00/run/x\0", "latin1"));
    expect(line("bind", [3, unix, 9], 0)).toBe('bind(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 9) = 0');
    const abstract = machine.put(848, Buffer.from("\x01\x00\0name", "latin1"));
    expect(line("bind", [3, abstract, 7], 0)).toBe('bind(3, {sa_family=AF_UNIX, sun_path=@"name"}, 7) = 0');
    expect(line("socket", [1, 0o2004001, 0], 3)).toBe("socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = 3");
  });

  it("should close its parenthesis at once when nothing comes after the call", () => {
    machine.call.nr = NR.exit_group;
    machine.run((c) => {
      expect(formatEntry(c)).toBe("exit_group(3)");
      return 0;
    }, 3);
  });

  it("should print calls it does not know in hexadecimal, and restarts by their name", () => {
    machine.call.nr = 999;
    machine.run((c) => {
      expect(formatResult(c, formatEntry(c), -38)).toBe("syscall_999(0x1, 0xffffffffffffffff, 0x0, 0x0, 0x0, 0x0) = -1 ENOSYS (Function not implemented)");
      return 0;
    }, 1, -1n);
    expect(line("pause", [], -514)).toBe("pause() = ? ERESTARTNOHAND (To be restarted if no handler)");
  });

  it("should print a bad pointer as the pointer", () => {
    expect(line("open", [0xdead000, 0], -14)).toBe("open(0xdead000, O_RDONLY) = -1 EFAULT (Bad address)");
    expect(line("write", [1, 2n ** 63n, 2n ** 63n], -14)).toBe("write(1, 0x8000000000000000, 9223372036854775808) = -1 EFAULT (Bad address)");
    const end = BASE + machine.pages * 4096;
    machine.kernel.mem.write(end - 3, new TextEncoder().encode("abc"));
    expect(line("open", [end - 3, 0], -14)).toBe(`open(0x${(end - 3).toString(16)}, O_RDONLY) = -1 EFAULT (Bad address)`);
  });

  it("should never throw, whatever the registers hold", () => {
    const word = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom(0n, 1n, 3n, 2n ** 63n, 2n ** 64n - 1n, BigInt(BASE), BigInt(BASE + 4090), BigInt(BASE + machine.pages * 4096 - 5)));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 470 }), fc.array(word, { minLength: 6, maxLength: 6 }), fc.integer({ min: -600, max: 2 ** 31 }), (nr, args, result) => {
        machine.call.nr = nr;
        let text = "";
        machine.run((c) => {
          text = formatResult(c, formatEntry(c), result);
          return 0;
        }, ...args);
        expect(text).toMatch(/^\w+\(.*\) = /s);
        expect(text).not.toContain("\n");
        expect(text.length).toBeLessThan(20_000);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("texts", () => {
  it("should quote bytes so that they can be read back unambiguously", () => {
    expect(quote(Uint8Array.from([0, 49, 1, 65, 34, 92, 200, 10]))).toBe('"\\0001\\1A\\"\\\\\\310\\n"');
  });

  it("should turn masks round when most signals are in them", () => {
    expect(maskText(0n)).toBe("[]");
    expect(maskText(0xffff_ffff_ffff_ffffn & ~(1n << 8n))).toBe("~[KILL]");
  });

  it("should keep unknown bits, also those above 31", () => {
    expect(bitNames(0x8000_0003, { A: 1, TOP: 0x8000_0000 })).toBe("A|TOP|0x2");
    expect(bitNames(2 ** 33, { WIDE: 2 ** 33 })).toBe("WIDE");
    expect(bitNames(0, { A: 1 }, "NONE")).toBe("NONE");
  });
});
