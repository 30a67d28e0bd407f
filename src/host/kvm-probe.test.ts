import { accessSync, constants, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { probeKvm, statKvm } from "./kvm-probe.ts";

describe("statKvm", () => {
  it("should say that there is no device, and that a file is not one", () => {
    expect(statKvm("/nonexistent/kvm")).toMatchObject({ path: "/nonexistent/kvm", present: false });
    expect(statKvm("/etc/passwd").present).toBe(false);
  });

  it("should show the permission bits of a device", () => {
    expect(statKvm("/dev/null")).toMatchObject({ present: true, mode: 0o666 });
  });
});

describe("probeKvm", () => {
  const usable = (): boolean => {
    try {
      accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  };

  it.runIf(usable())("should make a virtual machine, run its loop, and close all it opened", () => {
    const before = readdirSync("/proc/self/fd").length;
    const probe = probeKvm();
    expect(probe).toMatchObject({ failure: undefined, apiVersion: 12 });
    expect(probe.ring0Speed).toBeGreaterThan(1e4);
    expect(probe.capabilities.find((c) => c.name === "SYNC_REGS")).toMatchObject({ number: 74, enough: true });
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  it.runIf(!usable())("should say why /dev/kvm cannot be used", () => {
    const probe = probeKvm();
    expect(probe.failure?.code).toBe(statKvm().present ? "E_KVM_DENIED" : "E_NO_KVM");
    expect(probe.ring0Speed).toBeUndefined();
  });
});
