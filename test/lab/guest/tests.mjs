// The core tests, as run inside the lab machine. Each has a name, a function that throws where margay (or the machine) is not as it should be, and
// a deadline in seconds where the usual one is too short.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { check, execute, MARGAY, Skip, same } from "./checks.mjs";

const read = (path) => readFileSync(path, "utf8").trim();

// --- The machine -------------------------------------------------------------------------------------------------------------------------

const machine = [
  {
    name: "machine: textbook KVM, two NUMA nodes with two CPUs each",
    run() {
      const modules = readdirSync("/sys/module");
      check(modules.includes("kvm_amd") && !modules.includes("kvm_pvm"), `modules: ${modules.filter((name) => name.startsWith("kvm"))}`);
      check(read("/sys/devices/system/node/node0/cpulist") === "0-1", "node 0 has other CPUs");
      check(read("/sys/devices/system/node/node1/cpulist") === "2-3", "node 1 has other CPUs");
      check(read("/sys/devices/system/node/node0/distance") === "10 20", "other distances");
    },
  },
];

// --- What margay relies on KVM for -----------------------------------------------------------------------------------------------------

/** Runs a part of the probe and returns its answers by question. */
async function facts(part, signal) {
  const { stdout, code } = await execute(["/lab/probes/kvm-facts", part], { signal });
  check(code === 0, `kvm-facts ${part} ended with ${code}`);
  return new Map(
    stdout
      .toString()
      .trim()
      .split("\n")
      .map((line) => [line.slice(0, line.lastIndexOf(": ")), line.slice(line.lastIndexOf(": ") + 2)]),
  );
}

const kvm = [
  {
    name: "KVM: forgets a page whose host mapping changes, whatever backs it",
    async run({ signal }) {
      const answers = await facts("edits", signal);
      for (const [question, answer] of answers) {
        // The emulator never keeps stale translations, so "seen" alone proves nothing here: KVM's counters do.
        if (question.endsWith("KVM counted")) {
          const wanted = question.includes(", nothing:") ? "+0, faults mended +0" : "+1, faults mended +1";
          check(answer === `flush requests ${wanted}`, `${question}: ${answer}`);
        } else if (question !== "kind of KVM") {
          check(answer === "seen", `${question}: ${answer}`);
        }
      }
    },
  },
  {
    name: "KVM: a vCPU that is running sees the edit too",
    async run({ signal }) {
      const answers = await facts("running", signal);
      check(answers.size === 4, `${answers.size} answers`);
      for (const [question, answer] of answers) {
        if (question.startsWith("running"))
          check(!question.includes("after -1 us") && answer === "vector 14 cr2=0x30000000", `${question}: ${answer}`);
      }
    },
  },
  {
    name: "KVM: a new RIP is honoured after the exit by out",
    async run({ signal }) {
      const answers = await facts("rip", signal);
      check(answers.get("rip, honoured through sync regs") === "yes", JSON.stringify([...answers]));
    },
  },
  {
    name: "KVM: an access that the host's mapping forbids ends KVM_RUN with EFAULT and can be run again",
    async run({ signal }) {
      const answers = await facts("efault", signal);
      for (const [question, answer] of answers) {
        if (question.includes("run again")) check(answer.startsWith("syscall"), `${question}: ${answer}`);
        else if (question.includes("PROT_NONE")) check(answer.startsWith("rc=-EFAULT"), `${question}: ${answer}`);
      }
    },
  },
];

// --- margay ------------------------------------------------------------------------------------------------------------------------------

const margay = (argv, options) => execute([process.execPath, MARGAY, ...argv], options);

const commands = [
  {
    name: "doctor: textbook KVM, ring 0 native, fit to run",
    async run({ signal }) {
      const { stdout, stderr, code } = await margay(["doctor", "--json"], { signal });
      check(stdout.length > 0, `exit code ${code}: ${stderr}`);
      const { kvm, numa, findings, verdict } = JSON.parse(stdout);
      check(kvm.kind === "SVM (AMD-V)" && kvm.ring0 === "native", `kind ${kvm.kind}, ring 0 ${kvm.ring0} (${kvm.probe.ring0Speed}/s)`);
      check(numa.present && numa.nodes.length === 2, `nodes: ${JSON.stringify(numa.nodes)}`);
      check(verdict.ok && code === 0, `exit code ${code}: ${findings.map(({ text }) => text).join("; ")}: ${verdict.text}`);
    },
  },
  {
    name: "run: an ordinary user with access to /dev/kvm",
    async run({ signal }) {
      const user = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
      const { stdout, stderr, code } = await execute([...user, process.execPath, MARGAY, "run", "--", "/bin/echo", "hello"], {
        signal,
        cwd: "/tmp",
      });
      check(code === 0 && stdout.toString() === "hello\n", `exit code ${code}: ${stdout}${stderr}`);
    },
  },
];

// --- NUMA --------------------------------------------------------------------------------------------------------------------------------

/** Starts the program that holds memory and threads, in a virtual node, and calls `look` with margay's process id while it does. */
async function holding({ mebibytes, threads, options, signal }, look) {
  const argv = [MARGAY, "run", ...options, "--", "/lab/probes/hold", String(mebibytes), String(threads)];
  const child = spawn(process.execPath, argv, { signal, killSignal: "SIGKILL" });
  let complaint = "";
  child.stderr.on("data", (bytes) => {
    complaint += bytes;
  });
  const ended = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const ready = new Promise((resolve) => createInterface({ input: child.stdout }).on("line", (line) => line === "ready" && resolve(true)));
  try {
    check(await Promise.race([ready, ended.then(() => false)]), `the program did not start: ${complaint}`);
    await look(child.pid);
    child.stdin.end();
    const code = await ended;
    check(code === 0, `exit code ${code}: ${complaint}`);
  } finally {
    child.kill("SIGKILL");
  }
}

/**
 * A process's mappings, each with its bytes on every NUMA node, from numa_maps (proc(5)).
 * @returns {{line: string, bytes: Map<number, number>}[]}
 */
function placement(pid) {
  const pageBytes = (line) => Number(/kernelpagesize_kB=(\d+)/.exec(line)?.[1] ?? 4) * 1024;
  return read(`/proc/${pid}/numa_maps`)
    .split("\n")
    .map((line) => ({
      line,
      bytes: new Map([...line.matchAll(/ N(\d+)=(\d+)/g)].map(([, node, pages]) => [Number(node), Number(pages) * pageBytes(line)])),
    }));
}

/** Waits until so many threads of a process have run guest code: a new one takes its time here. */
async function runningThreads(pid, count) {
  const began = performance.now();
  let threads = guestThreads(pid);
  while (threads.length < count && performance.now() - began < 30_000) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    threads = guestThreads(pid);
  }
  check(threads.length >= count, `threads in the guest: ${JSON.stringify(threads)}`);
  return threads;
}

/** Threads of a process that have run guest code: KVM counts their time in the guest (proc(5), stat field 43). */
function guestThreads(pid) {
  return readdirSync(`/proc/${pid}/task`)
    .map((tid) => {
      const stat = read(`/proc/${pid}/task/${tid}/stat`);
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // fields[0] is field 3
      const allowed = /Cpus_allowed_list:\s*(\S+)/.exec(read(`/proc/${pid}/task/${tid}/status`))[1];
      return { tid, guestTime: Number(fields[43 - 3]), processor: Number(fields[39 - 3]), allowed };
    })
    .filter(({ guestTime }) => guestTime > 0);
}

const GUEST_MIB = 96;

/** Memory and threads of `--numa node` are where they should be. */
function onNode(node, cpus, options) {
  return {
    seconds: 90,
    name: `numa: memory and threads of --numa ${node}${options.length > 0 ? ` ${options.join(" ")}` : ""} are on node ${node}`,
    run({ signal }) {
      return holding({ mebibytes: GUEST_MIB, threads: 1, options: ["--numa", String(node), ...options], signal }, async (pid) => {
        const threads = await runningThreads(pid, 2);
        const maps = placement(pid);
        // margay binds the guest's memory and nothing else of its own.
        const guest = maps.filter(({ line }) => / bind:/.test(line));
        check(guest.length > 0, "no mapping with a bind policy in numa_maps");
        const on = (which) => guest.reduce((sum, { bytes }) => sum + (bytes.get(which) ?? 0), 0);
        check(on(node) >= GUEST_MIB << 20, `only ${on(node)} bytes of guest memory on node ${node}`);
        check(on(1 - node) === 0, `${on(1 - node)} bytes on the other node:\n${guest.map(({ line }) => line).join("\n")}`);
        for (const thread of threads) {
          check(cpus.includes(thread.processor), `thread runs on another node: ${JSON.stringify(thread)}`);
          const list = thread.allowed.split(/[-,]/).map(Number);
          check(
            list.every((cpu) => cpus.includes(cpu)),
            `thread may run on another node: ${JSON.stringify(thread)}`,
          );
        }
      });
    },
  };
}

const numa = [onNode(1, [2, 3], []), onNode(0, [0, 1], ["--pages", "4K/4K"])];

// --- Programs ----------------------------------------------------------------------------------------------------------------------------

const program = (name, argv, how) => ({ name: `same as native: ${name}`, run: (context) => same(argv, context, how) });
const lines = (count) => Array.from({ length: count }, (_, i) => `${(i * 7919) % 104729}\n`).join("");

const programs = [
  program("true", ["/usr/bin/true"]),
  program("false", ["/usr/bin/false"]),
  program("false, 4K/4K", ["/usr/bin/false"], { options: ["--pages", "4K/4K"] }),
  program("ls -la /usr/bin", ["/usr/bin/ls", "-la", "/usr/bin"]),
  program("sha256sum of perl", ["/usr/bin/sha256sum", "/usr/bin/perl"]),
  program("sort --parallel=2", ["/usr/bin/sort", "--parallel=2", "-n"], { input: lines(10_000) }),
  program("awk", ["/usr/bin/awk", '{ sum += $1 * NR } END { printf "%.6g\\n", sum }'], { input: lines(5_000) }),
  program("bc: 200 digits of pi", ["/usr/bin/bc", "-l"], { input: "scale=200\n4*a(1)\n" }),
  program("xz -T2", ["/usr/bin/xz", "-T2", "-c"], { input: lines(10_000) }),
  program("busybox (static)", ["/bb/busybox", "uname", "-m"]),
  program("sqlite3", [
    "/usr/bin/sqlite3",
    ":memory:",
    "with recursive n(i) as (select 1 union all select i+1 from n where i<1000) select sum(i*i) from n;",
  ]),
  program("perl", [
    "/usr/bin/perl",
    "-e",
    'my %h; $h{$_ % 97} += $_ for 1..20000; print join(\',\', map { "$_=$h{$_}" } sort keys %h), "\\n"; exit 5',
  ]),
];

const OWN = "/opt/programs";

/**
 * One of margay's own test programs, built by test/programs. Those that consist of named tests are asked for the ones that pass natively here: the
 * emulator lacks a few things (SSE exceptions, alignment checks) and is too slow for others, which `without` names.
 */
function own(name, { args, options, without = [] } = {}) {
  const path = `${OWN}/${name}`;
  const pages = options === undefined ? "" : ` ${options.join(" ")}`;
  return {
    name: `same as native: ${[name, ...(args ?? [])].join(" ")}${pages}`,
    seconds: 120,
    async run(context) {
      if (!existsSync(path)) throw new Skip("not built");
      const passing = args ?? (await passingTests(path, context)).filter((test) => !without.includes(test));
      await same([path, ...passing], context, { options });
    },
  };
}

/** Names of a program's tests that pass natively. */
async function passingTests(path, { directory, signal }) {
  const { stdout, code } = await execute([path], { cwd: directory, signal });
  const names = [...stdout.toString().matchAll(/^(\w+) ok$/gm)].map(([, name]) => name);
  if (names.length === 0) throw new Skip(`passes nothing natively in the emulator (exit code ${code})`);
  return names;
}

const SMALL_PAGES = ["--pages", "4K/4K"];

const ownPrograms = [
  own("tiny.static", { args: [] }),
  own("tiny.static-pie", { args: [] }),
  own("args.dynamic", { args: ["one", "two words", ""] }),
  own("auxv.static-pie", { args: [] }),
  own("auxv.dynamic", { args: [] }),
  own("exits.musl", { args: [] }),
  own("crew.dynamic", { args: [] }),
  own("crew.static", { args: [], options: SMALL_PAGES }),
  own("files.dynamic"),
  own("streams.static"),
  own("filemap.dynamic"),
  own("memory.static"),
  own("memory.dynamic", {
    options: SMALL_PAGES,
    args: [
      "reuse_is_zero",
      "mprotect_takes_effect_at_once",
      "mremap_in_place_and_moved",
      "fixed_over_parts",
      "dontneed_zeroes",
      "shared_anonymous",
    ],
  }),
  own("faults.dynamic"),
  own("faults.musl", { options: SMALL_PAGES, args: ["access_rights", "stack_overflow", "nested_faults", "faults_in_threads"] }),
  own("registers.static"),
  own("signals.dynamic"),
  own("sigstate.static", { args: ["300"] }),
  own("threads.dynamic", { without: ["sixty_four_at_once", "a_thousand_in_a_row", "parallel"] }),
  own("futex.dynamic"),
  own("time.dynamic", { without: ["rate"] }),
  own("system.static"),
  own("hostile.dynamic"),
  own("dl.dynamic", { args: [] }),
  own("ifunc.static", { args: [] }),
  own("cxx.dynamic", { args: [] }),
  own("omp.dynamic", { args: [] }),
  own("fortran.static", { args: [] }),
  own("go.go", { args: [] }),
];

export const tests = [...machine, ...kvm, ...commands, ...numa, ...programs, ...ownPrograms];
