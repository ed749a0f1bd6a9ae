# What a machine starts that boots from an OS volume, when its firmware is what is tested: the first sector of a disk. It
# reads TEXT_SECTORS behind itself and says what they hold, writes them elsewhere on the disk, reads them back from there,
# and says DISK-OK or DISK-BAD. All through the BIOS's disk services, behind which is iPXE's iSCSI initiator.
#
#   as --32 boot-sector.S -o x.o && ld -m elf_i386 -Ttext 0x7c00 --oformat binary x.o -o boot-sector

.set TEXT, 0x8000
.set COPY, 0xa000
.set TEXT_SECTORS, 4
.set COPY_LBA, 64
.set COM1, 0x3f8
.set TICKS, 0x46c                # the BIOS counts 18 a second here
.set WAIT, 9

.code16
.globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $_start, %sp
    cld
    movb %dl, drive
    sti
    movw TICKS, %bx                 # what the firmware has still to say goes out first: it does so by the timer
wait:
    hlt
    movw TICKS, %ax
    subw %bx, %ax
    cmpw $WAIT, %ax
    jb wait
    movb $0x42, %ah                 # extended read
    call disk
    movw $TEXT, %si
    call say
    movb $0x43, %ah                 # extended write
    movl $COPY_LBA, packet_lba
    call disk
    movb $0x42, %ah
    movw $COPY, packet_buffer
    call disk
    movw $TEXT, %si
    movw $COPY, %di
    movw $(TEXT_SECTORS * 512), %cx
    repe cmpsb
    jne bad
    movw $good_text, %si
    jmp end
bad:
    movw $bad_text, %si
end:
    call say
    cli
stop:
    hlt
    jmp stop

disk:                               # the service in %ah, with the packet
    xorb %al, %al
    movb drive, %dl
    movw $packet, %si
    int $0x13
    jc bad
    ret

say:                                # the text at %si, which ends with a zero, on the serial line
    lodsb
    testb %al, %al
    jz said
    movb %al, %ah
    movw $(COM1 + 5), %dx
busy:
    inb %dx, %al
    testb $0x20, %al
    jz busy
    movw $COM1, %dx
    movb %ah, %al
    outb %al, %dx
    jmp say
said:
    ret

good_text: .asciz "DISK-OK\r\n"
bad_text:  .asciz "DISK-BAD\r\n"
drive:     .byte 0
.balign 4
packet:    .byte 16, 0
           .word TEXT_SECTORS
packet_buffer:
           .word TEXT, 0
packet_lba:
           .long 1, 0

.org 510
.word 0xaa55
