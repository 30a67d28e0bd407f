# No libc at all: the state a program is started with (System V AMD64 ABI 3.4.1), three system calls, exit code 42.
# Exit 1..6 says which expectation failed.
        .globl _start
        .text
_start:
        mov     $1, %edi
        test    $15, %spl               # rsp is 16-byte aligned at entry
        jnz     fail
        pushfq
        pop     %rax
        mov     $2, %edi
        test    $0x400, %eax            # direction flag is clear
        jnz     fail
        mov     $3, %edi
        cmpq    $1, (%rsp)              # argc >= 1
        jl      fail
        mov     (%rsp), %rcx
        mov     $4, %edi
        cmpq    $0, 8(%rsp,%rcx,8)      # argv[argc] == NULL
        jne     fail
        stmxcsr -4(%rsp)
        mov     $5, %edi
        cmpl    $0x1f80, -4(%rsp)       # default MXCSR
        jne     fail
        fnstcw  -4(%rsp)
        mov     $6, %edi
        cmpw    $0x37f, -4(%rsp)        # default x87 control word
        jne     fail

        mov     $1, %eax                # write(1, text, length)
        mov     $1, %edi
        lea     text(%rip), %rsi
        mov     $length, %edx
        syscall
        cmp     $length, %rax
        mov     $7, %edi
        jne     fail
        mov     $42, %edi
fail:
        mov     $231, %eax              # exit_group
        syscall
        ud2

        .section .rodata
text:   .ascii "hello from assembler\n"
        .set    length, . - text
        .section .note.GNU-stack,"",@progbits
