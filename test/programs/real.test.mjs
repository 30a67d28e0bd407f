// Real programs, as Debian ships them, against their native run: the list of issue 2. MARGAY_FULL=1 runs the large ones at full size
// with every page policy; otherwise full size is run once, with 2M/2M.
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { compare, environment, freshDirectory } from "./compare.mjs";

const full = process.env.MARGAY_FULL === "1";
const data = freshDirectory();

/** A test per page policy; skipped where the program is not installed. */
function should(name, command, options = {}) {
  for (const pages of ["2M/2M", "4K/4K"]) {
    const skip = existsSync(command[0]) ? false : `${command[0]} is not installed`;
    test(`should run ${name} with ${pages} as natively`, { skip }, async () => {
      await compare(command, { pages, timeout: 120, ...options });
    });
  }
}

/** Pseudo-random bytes, the same in every run (xorshift32 by words). */
function noise(bytes, seed = 1) {
  const words = new Uint32Array(bytes / 4);
  let x = seed;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return Buffer.from(words.buffer);
}

/** Writes `name` into the data directory once; `pieces` yields its parts. Its path. */
function dataFile(name, pieces) {
  const path = join(data, name);
  if (!existsSync(path)) {
    writeFileSync(path, "");
    for (const piece of pieces()) writeFileSync(path, piece, { flag: "a" });
  }
  return path;
}
const randomFile = (megabytes) =>
  dataFile(`random-${megabytes}M`, function* () {
    const piece = noise(1 << 24);
    for (let i = 0; i < megabytes / 16; i++) {
      piece.writeUInt32LE(i); // pieces differ
      yield piece;
    }
  });
const linesFile = (count) =>
  dataFile(`lines-${count}`, function* () {
    const words = new Uint32Array(noise(1 << 20).buffer);
    for (let done = 0; done < count; done += 100_000) {
      const lines = [];
      for (let i = done; i < Math.min(count, done + 100_000); i++) lines.push(`${(words[i & 0x3ffff] ^ (i * 2654435761)) >>> 0}`);
      yield `${lines.join("\n")}\n`;
    }
  });

should("true", ["/bin/true"]);
should("false", ["/bin/false"], { code: 1 });
should("echo", ["/bin/echo", "hello", "world"]);
should("cat of standard input", ["/bin/cat"], { input: noise(1 << 20) });
should("ls -la /usr/bin", ["/bin/ls", "-la", "/usr/bin"]);
should("ls of a missing file", ["/bin/ls", "/absent"], { code: 2 });
should("env", ["/usr/bin/env"]);
should("wc", ["/usr/bin/wc", "/etc/passwd", "/etc/services"]);
should(
  "awk",
  [
    "/usr/bin/awk",
    'BEGIN { for (i = 0; i < 200000; i++) { s += sqrt(i); a[i % 97] += i } print s, a[13]; printf "%.10f\\n", atan2(1, 2) } { print NR, toupper($0) }',
  ],
  {
    input: "one\ntwo\n",
  },
);
should("bc", ["/usr/bin/bc", "-l", "-q"], { input: "scale = 200\n4 * a(1)\n2 ^ 521 - 1\nquit\n" });
should(
  "perl",
  [
    "/usr/bin/perl",
    "-e",
    'my %h; $h{$_ % 1000} .= chr(65 + $_ % 26) for 1 .. 200000; print join(",", map { length $h{$_} } 0 .. 20), "\\n"; my $s = "x" x 100000; $s =~ s/x{7}/seven/g; print length($s), "\\n"; printf "%s\\n", join " ", sort { $a <=> $b } map { ($_ * 7919) % 1009 } 1 .. 50; open my $f, ">", "perl.txt"; print $f "line $_\\n" for 1 .. 1000; close $f; die "gone\\n" unless -s "perl.txt" == 8893; exit 3',
  ],
  { code: 3 },
);
should("sqlite3", ["/usr/bin/sqlite3", "test.db"], {
  input: `pragma journal_mode = wal;
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, 'name ' || (i * 7919 % 10007), i * 0.5 from n;
create index by_name on t(name);
select count(*), sum(value), min(name), max(name) from t;
select name from t where name like 'name 12%' order by name limit 5;
begin; delete from t where id % 2; rollback;
delete from t where id % 3 = 0;
select count(*) from t;
vacuum;
pragma integrity_check;
`,
  normalise: (text) => text,
});
should("sed and its in-place file", ["/bin/sed", "-i", "-e", "s/o/0/g", "file"], {
  prepare: (dir) => writeFileSync(join(dir, "file"), "one\ntwo\nfoo\n"),
});
should("tar and its archive", [
  "/bin/tar",
  "--sort=name",
  "--mtime=@0",
  "--owner=0",
  "--group=0",
  "-cf",
  "passwd.tar",
  "/etc/passwd",
  "/etc/services",
]);
should("gzip", ["/bin/gzip", "-9", "-k", "-n", "file"], { prepare: (dir) => writeFileSync(join(dir, "file"), "margay ".repeat(200_000)) });
should("xz -T2", ["/usr/bin/xz", "-T2", "--block-size=1MiB", "-1", "-k", "file"], {
  prepare: (dir) => writeFileSync(join(dir, "file"), Buffer.concat([noise(1 << 21), Buffer.alloc(1 << 22, "compressible ")])),
});
should("busybox", ["/usr/bin/busybox", "sha256sum", "/usr/bin/busybox"]);
should("busybox sort", ["/usr/bin/busybox", "sort", "-n"], {
  input: Array.from({ length: 5000 }, (_, i) => `${(i * 7919) % 5003}\n`).join(""),
});
should("busybox vi -h", ["/usr/bin/busybox", "awk", 'BEGIN { print substr("busybox", 5) }']);
should(
  "python3",
  [
    "/usr/bin/python3",
    "-c",
    `
import sys, os, json, hashlib, threading, zlib, re, time, decimal, subprocess
results = []
def work(n):
    results.append(sum(i * i for i in range(n)))
threads = [threading.Thread(target=work, args=(20000,)) for _ in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(results), hashlib.sha256(b"margay" * 100000).hexdigest())
print(json.dumps({"a": [1, 2.5, None], "b": sys.argv[1:]}), zlib.crc32(b"abc"), decimal.Decimal(2).sqrt())
print(sorted(os.listdir("/usr/lib/python3"))[:5], os.getcwd() == os.path.realpath("."), re.sub("a+", "b", "caaat"))
with open("python.txt", "w") as f: f.write("text\\n" * 1000)
print(os.path.getsize("python.txt"))
before = time.monotonic(); time.sleep(0.02); print(time.monotonic() - before >= 0.02)
try: 1 // 0
except ZeroDivisionError as e: print(e)
sys.exit(4)
`,
    "x y",
  ],
  { code: 4 },
);
should(
  "python3 with numpy",
  [
    "/usr/bin/python3",
    "-c",
    `
import numpy as np, threading
a = np.arange(500 * 500, dtype=np.float64).reshape(500, 500) % 17
b = (a.T * 3) % 11
print((a @ b).sum(), np.linalg.matrix_rank(a), np.sort(a.ravel())[::25000])
results = [None] * 4
def work(i):
    results[i] = float((a @ (b + i)).sum())
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(results)
m = np.memmap("map.bin", dtype=np.int32, mode="w+", shape=(1000, 100))
m[:] = np.arange(100000).reshape(1000, 100)
m.flush()
print(int(np.fromfile("map.bin", dtype=np.int32).sum()), np.fft.fft(np.ones(8))[0].real)
`,
  ],
  { env: { ...environment, OPENBLAS_NUM_THREADS: "2" } },
);
should("openssl digests", ["/usr/bin/openssl", "dgst", "-sha512", "-hex"], { input: noise(1 << 22) });
/** Rates differ from run to run; everything else must not. */
const withoutRates = (text) => text.replace(/\d+(\.\d+)?k?/g, "N").replace(/ +/g, " ");
should("openssl speed", ["/usr/bin/openssl", "speed", "-seconds", "1", ...(full ? [] : ["-bytes", "1024"]), "sha256"], {
  normalise: withoutRates,
});

// The large ones: one native run, then the guest at full size.
for (const [pages, megabytes] of [
  ["2M/2M", 1024],
  ["4K/4K", full ? 1024 : 128],
]) {
  test(`should run sha256sum of ${megabytes} MB with ${pages} as natively`, async () => {
    const file = randomFile(megabytes);
    const { guest } = await compare(["/usr/bin/sha256sum", file], { pages, timeout: 120 });
    assert.match(guest.stdout, /^[0-9a-f]{64} /);
  });
}
for (const [pages, lines] of [
  ["2M/2M", 10_000_000],
  ["4K/4K", full ? 10_000_000 : 500_000],
]) {
  test(`should sort ${lines} lines with two threads and ${pages} as natively`, async () => {
    const file = linesFile(lines);
    await compare(["/usr/bin/sort", "--parallel=2", "-S", "1G", file], {
      pages,
      timeout: 180,
      keep: "hash",
      env: { ...environment, LC_ALL: "C" },
    });
  });
}
