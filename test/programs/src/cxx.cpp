// C++: exceptions (through C frames, across threads, out of signal-free destructors), streams, threads, thread_local, atomics, containers.
#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <regex>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <vector>

static int failures = 0;
#define CHECK(cond)                                                               \
  do {                                                                            \
    if (!(cond)) {                                                                \
      std::cerr << "FAIL " << __func__ << ":" << __LINE__ << ": " #cond << "\n";  \
      failures++;                                                                 \
      return;                                                                     \
    }                                                                             \
  } while (0)

struct Trace {
  static inline std::atomic<int> alive{0};
  Trace() { alive++; }
  Trace(const Trace &) { alive++; }
  ~Trace() { alive--; }
};

struct Global {
  Global() { std::cout << "global constructed\n"; }
  ~Global() { std::cout << "global destroyed\n"; }
} global;

[[gnu::noinline]] static int thrower(int depth) {
  Trace t;
  if (depth == 0) throw std::runtime_error("from the bottom");
  return thrower(depth - 1) + 1;
}

static void exceptions() {
  for (int i = 0; i < 200; i++) {
    try {
      thrower(i % 50);
      CHECK(false);
    } catch (const std::logic_error &) {
      CHECK(false);
    } catch (const std::exception &e) {
      CHECK(std::string(e.what()) == "from the bottom");
    }
  }
  CHECK(Trace::alive == 0);
  try {
    try {
      throw 42;
    } catch (...) {
      std::throw_with_nested(std::out_of_range("outer"));
    }
  } catch (const std::out_of_range &e) {
    try {
      std::rethrow_if_nested(e);
      CHECK(false);
    } catch (int inner) {
      CHECK(inner == 42);
    }
  }
  std::vector<int> v(3);
  bool caught = false;
  try {
    (void)v.at(10);
  } catch (const std::out_of_range &) {
    caught = true;
  }
  CHECK(caught);
  caught = false;
  try {
    std::qsort(v.data(), v.size(), sizeof(int), [](const void *, const void *) -> int { throw std::string("through C"); });
  } catch (const std::string &s) {
    caught = s == "through C";
  }
  CHECK(caught);
  caught = false;
  try {
    volatile std::size_t huge = std::size_t(1) << 60;
    std::unique_ptr<char[]> p(new char[huge]);
  } catch (const std::bad_alloc &) {
    caught = true;
  }
  CHECK(caught);
}

static void threads() {
  std::atomic<long> sum{0};
  std::mutex mutex;
  std::map<std::thread::id, int> seen;
  std::vector<std::thread> list;
  for (int i = 0; i < 8; i++)
    list.emplace_back([&, i] {
      for (int j = 0; j < 1000; j++) sum += j;
      std::lock_guard lock(mutex);
      seen[std::this_thread::get_id()] = i;
    });
  for (auto &t : list) t.join();
  CHECK(sum == 8 * 499500L);
  CHECK(seen.size() == 8);
  // an exception crosses threads through a future
  auto f = std::async(std::launch::async, [] { return thrower(5); });
  bool caught = false;
  try {
    f.get();
  } catch (const std::runtime_error &) {
    caught = true;
  }
  CHECK(caught);
  // all threads throw at once: the unwinder's caches and locks
  std::atomic<int> total{0};
  list.clear();
  for (int i = 0; i < 4; i++)
    list.emplace_back([&] {
      for (int j = 0; j < 300; j++) {
        try {
          thrower(10);
        } catch (const std::exception &) {
          total++;
        }
      }
    });
  for (auto &t : list) t.join();
  CHECK(total == 1200);
  CHECK(Trace::alive == 0);
}

static std::atomic<int> locals{0};
struct Local {
  int value = 5;
  Local() { locals++; }
  ~Local() { locals--; }
};
static thread_local Local local;

static void thread_locals() {
  local.value = 9;
  for (int i = 0; i < 5; i++) {
    int seen = 0;
    std::thread([&] {
      seen = local.value;
      local.value = 77;
    }).join();
    CHECK(seen == 5);
  }
  CHECK(local.value == 9);
  CHECK(locals == 1);
}

static void waiting() {
  std::mutex mutex;
  std::condition_variable changed;
  int turn = 0;
  std::thread other([&] {
    for (int i = 0; i < 200; i++) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return turn % 2 == 1; });
      turn++;
      changed.notify_all();
    }
  });
  for (int i = 0; i < 200; i++) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return turn % 2 == 0; });
    turn++;
    changed.notify_all();
  }
  other.join();
  CHECK(turn == 400);
  auto before = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(20));
  std::unique_lock lock(mutex);
  CHECK(changed.wait_for(lock, std::chrono::milliseconds(10)) == std::cv_status::timeout);
  std::promise<int> promise;
  auto future = promise.get_future();
  std::thread([&] { promise.set_value(3); }).join();
  CHECK(future.get() == 3);
  std::atomic<int> flag{0};
  std::thread waiter([&] { flag.wait(0); });
  flag = 1;
  flag.notify_all();
  waiter.join();
  std::jthread stoppable([](std::stop_token token) {
    while (!token.stop_requested()) std::this_thread::yield();
  });
}

static void streams() {
  std::ostringstream text;
  text << std::setw(8) << 42 << " " << std::hex << 255 << " " << std::fixed << std::setprecision(3) << 3.14159 << " " << std::boolalpha << true;
  CHECK(text.str() == "      42 ff 3.142 true");
  {
    std::ofstream out("stream.txt");
    for (int i = 0; i < 10000; i++) out << i << " " << i * 0.5 << "\n";
  }
  std::ifstream in("stream.txt");
  long sum = 0;
  double halves = 0;
  for (int i; in >> i;) {
    double h;
    in >> h;
    sum += i;
    halves += h;
  }
  CHECK(sum == 49995000 && halves == 24997500);
  CHECK(std::filesystem::file_size("stream.txt") > 80000);
  std::filesystem::remove("stream.txt");
  CHECK(!std::filesystem::exists("stream.txt"));
  std::string line, all;
  while (std::getline(std::cin, line)) all += line + "|";
  std::cout << "input <" << all << ">\n";
}

static void library() {
  std::mt19937_64 engine(12345);
  std::vector<std::uint64_t> v(100000);
  for (auto &x : v) x = engine();
  std::sort(v.begin(), v.end());
  CHECK(std::is_sorted(v.begin(), v.end()));
  std::cout << "checksum " << std::hex << std::accumulate(v.begin(), v.end(), std::uint64_t{0}) << std::dec << "\n";
  std::smatch match;
  std::string s = "margay run --pages 2M/4K";
  CHECK(std::regex_search(s, match, std::regex("--pages ([24][MK])/([24][MK])")) && match[2] == "4K");
  std::any value = std::string("anything");
  bool caught = false;
  try {
    (void)std::any_cast<int>(value);
  } catch (const std::bad_any_cast &) {
    caught = true;
  }
  CHECK(caught);
  struct Base {
    virtual ~Base() = default;
  };
  struct Derived : Base {};
  std::unique_ptr<Base> base = std::make_unique<Derived>();
  CHECK(dynamic_cast<Derived *>(base.get()) != nullptr);
  CHECK(std::string(typeid(*base).name()).find("Derived") != std::string::npos);
  std::random_device device;
  CHECK(device() != device() || device() != device());
}

int main() {
  static const std::vector<std::pair<const char *, void (*)()>> tests = {{"exceptions", exceptions}, {"threads", threads}, {"thread_locals", thread_locals},
                                                                         {"waiting", waiting},       {"streams", streams}, {"library", library}};
  for (auto [name, test] : tests) {
    int before = failures;
    test();
    if (failures == before) std::cout << name << " ok" << std::endl;
  }
  return failures ? 1 : 0;
}
