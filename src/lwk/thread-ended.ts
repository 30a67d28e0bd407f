/** Thrown through the loop when the guest thread has ended; its host thread goes back to the pool. */
export class ThreadEnded extends Error {}
