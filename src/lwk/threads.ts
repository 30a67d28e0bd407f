/** placeholder */
export class Threads {}
