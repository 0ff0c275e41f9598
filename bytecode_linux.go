package main

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Codes of enum INET_DIAG_BC_* in include/uapi/linux/inet_diag.h. A local one
// is followed by that for the peer in steps of two for ports, of one for
// addresses.
const (
	bytecodeJump  = 1 // INET_DIAG_BC_JMP
	bytecodeAbove = 2 // INET_DIAG_BC_S_GE, D_GE is 4
	bytecodeBelow = 3 // INET_DIAG_BC_S_LE, D_LE is 5
	bytecodeCond  = 7 // INET_DIAG_BC_S_COND, D_COND is 8
)

// maxBytecode is more than any sensible filter takes. Longer ones are left to
// our own rules.
const maxBytecode = 8 << 10

// bytecode returns a program that makes the kernel leave out sockets outside of
// the bounds, nil where there is nothing to leave out. It is a list of struct
// inet_diag_bc_op: a code, how far to go on when it holds, and when not. Going
// on to the end accepts, four bytes behind it refuses.
func bytecode(bounds []bound) []byte {
	var program []byte
	for _, b := range bounds {
		program = append(program, b.block()...)
	}
	size := len(program)
	if size > maxBytecode {
		return nil
	}
	// In a block a distance of 0 stands for refusing.
	for at := 0; at < size; at += int(program[at+1]) {
		if binary.NativeEndian.Uint16(program[at+2:]) == 0 {
			binary.NativeEndian.PutUint16(program[at+2:], uint16(size-at+4))
		}
	}
	return program
}

// block returns the part of the program that goes on to its end where any of the
// ports or networks matches.
func (b bound) block() (block []byte) {
	var tests [][]byte
	step := byte(0)
	if b.isRemote {
		step = 2
	}
	for _, ports := range b.ports {
		// A port stands in the place of the second distance of an operation of its own.
		tests = append(tests, append(operation(bytecodeAbove+step, 8, 16, portOperand(ports.first)), operation(bytecodeBelow+step, 8, 8, portOperand(ports.last))...))
	}
	for _, network := range b.networks {
		condition := hostCondition(network)
		tests = append(tests, operation(bytecodeCond+step/2, 4+len(condition), 4+len(condition), condition))
	}
	for _, test := range slices.Backward(tests) {
		for at, size := 0, len(test); at < size; at += int(test[at+1]) {
			next := 0 // the last test: none is left
			if len(block) > 0 {
				next = size - at + 4
			}
			binary.NativeEndian.PutUint16(test[at+2:], uint16(next))
		}
		if len(block) > 0 { // a jump over all the others
			test = append(test, operation(bytecodeJump, 4, 4+len(block), nil)...)
		}
		block = append(test, block...)
	}
	return block
}

// operation returns a struct inet_diag_bc_op with what belongs to it.
func operation(code byte, ifTrue, ifFalse int, operand []byte) []byte {
	return append(binary.NativeEndian.AppendUint16([]byte{code, byte(ifTrue)}, uint16(ifFalse)), operand...)
}

func portOperand(port uint32) []byte { return operation(0, 0, int(port), nil) }

// hostCondition returns a struct inet_diag_hostcond for a network and any port.
// One of IPv4 matches IPv4-mapped addresses too.
func hostCondition(network netip.Prefix) []byte {
	family := byte(unix.AF_INET6)
	if network.Addr().Is4() {
		family = unix.AF_INET
	}
	condition := binary.NativeEndian.AppendUint32([]byte{family, byte(network.Bits()), 0, 0}, ^uint32(0))
	return append(condition, network.Addr().AsSlice()...)
}
