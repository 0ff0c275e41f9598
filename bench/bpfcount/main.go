//go:build linux

// Command bpfcount counts the TCP sockets of its network namespace with a BPF
// iterator. It does nothing with a socket but visit it, so it is the floor for
// whatever visits them all. It needs root and Linux 5.9.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pointers to these go to the kernel as numbers, so they must not move, as
// local variables may.
var (
	license = [...]byte{'G', 'P', 'L', 0}
	program []instruction
	key     uint32
	counted uint64
)

// An instruction is struct bpf_insn of linux/bpf.h.
type instruction struct {
	code      uint8
	registers uint8 // the target in the lower half, the source in the upper one
	offset    int16
	value     int32
}

// counting is the program that the kernel runs for each socket, and once more
// with a null pointer at the end. counters is the map with the one counter.
func counting(counters uintptr) []instruction {
	return []instruction{
		{unix.BPF_LDX | unix.BPF_MEM | unix.BPF_DW, 0x11, 8, 0},                             // r1 = context->sk_common
		{unix.BPF_JMP | unix.BPF_JEQ, 0x01, 4, 0},                                           // skip 4 if it is null
		{unix.BPF_LD | unix.BPF_DW, unix.BPF_PSEUDO_MAP_VALUE<<4 | 0x2, 0, int32(counters)}, // r2 = &counter,
		{}, // in two parts
		{unix.BPF_ALU64 | unix.BPF_MOV, 0x03, 0, 1},                                          // r3 = 1
		{unix.BPF_STX | unix.BPF_ATOMIC | unix.BPF_DW, 0x32, 0, unix.BPF_ADD},                // *r2 += r3
		{unix.BPF_ALU64 | unix.BPF_MOV, 0x00, 0, 0}, {unix.BPF_JMP | unix.BPF_EXIT, 0, 0, 0}, // return 0
	}
}

func main() {
	types, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		log.Fatal(err)
	}
	hook, err := function(types, "bpf_iter_tcp")
	if err != nil {
		log.Fatal(err)
	}
	if err := count(hook); err != nil {
		log.Fatal(err)
	}
	fmt.Println(counted)
}

// count loads the program for a hook, runs it and leaves the number in counted.
func count(hook uint32) error {
	counters, err := bpf(unix.BPF_MAP_CREATE, &[32]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 8, 1})
	if err != nil {
		return fmt.Errorf("making a map: %w", err)
	}
	program = counting(counters)
	load := [32]uint32{0: unix.BPF_PROG_TYPE_TRACING, 1: uint32(len(program)), 17: unix.BPF_TRACE_ITER, 27: hook}
	put(&load, 2, unsafe.Pointer(&program[0]))
	put(&load, 4, unsafe.Pointer(&license))
	loaded, err := bpf(unix.BPF_PROG_LOAD, &load)
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	link, err := bpf(unix.BPF_LINK_CREATE, &[32]uint32{uint32(loaded), 0, unix.BPF_TRACE_ITER})
	if err != nil {
		return fmt.Errorf("attaching the program: %w", err)
	}
	iterator, err := bpf(unix.BPF_ITER_CREATE, &[32]uint32{uint32(link)})
	if err != nil {
		return fmt.Errorf("making the iterator: %w", err)
	}
	for buffer := make([]byte, 64); ; {
		n, err := unix.Read(int(iterator), buffer)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("running the program: %w", err)
		}
		if n == 0 {
			break
		}
	}
	lookup := [32]uint32{0: uint32(counters)}
	put(&lookup, 2, unsafe.Pointer(&key))
	put(&lookup, 4, unsafe.Pointer(&counted))
	_, err = bpf(unix.BPF_MAP_LOOKUP_ELEM, &lookup)
	return err
}

// bpf is the system call of that name. The attributes are union bpf_attr in
// words of 32 bits, of which no command used here needs more.
func bpf(command uintptr, attributes *[32]uint32) (uintptr, error) {
	result, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(attributes)), unsafe.Sizeof(*attributes))
	runtime.KeepAlive(attributes)
	if errno != 0 {
		return 0, errno
	}
	return result, nil
}

// put writes a pointer to the 64 bits that begin at a word of the attributes.
func put(attributes *[32]uint32, word int, pointer unsafe.Pointer) {
	binary.NativeEndian.PutUint64(unsafe.Slice((*byte)(unsafe.Pointer(&attributes[word])), 8), uint64(uintptr(pointer)))
}

// function finds the number of a function in the kernel's description of its
// own types (linux/btf.h).
func function(types []byte, name string) (uint32, error) {
	const header, perType, kindOfFunction = 24, 12, 12
	// What follows the fixed part, by kind: so much, and so much per member.
	fixed := map[uint32]int{1: 4, 3: 12, 14: 4, 17: 4}
	member := map[uint32]int{4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
	if len(types) < header {
		return 0, errors.New("no description of the kernel's types")
	}
	word := func(at int) int { return int(binary.NativeEndian.Uint32(types[at:])) }
	start := word(4)
	at, end, texts := start+word(8), start+word(8)+word(12), start+word(16)
	for number := uint32(1); at+perType <= end; number++ {
		info := uint32(word(at + 4))
		kind, members := info>>24&0x1f, int(info&0xffff)
		if kind == kindOfFunction {
			text := types[texts+word(at):]
			if len(text) > len(name) && string(text[:len(name)]) == name && text[len(name)] == 0 {
				return number, nil
			}
		}
		at += perType + fixed[kind] + members*member[kind]
	}
	return 0, fmt.Errorf("this kernel has no %s", name)
}
