package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// packet is a socket as a program of the kernel sees it.
type packet struct {
	family        byte
	local, remote netip.AddrPort
}

// audited returns why the kernel would refuse a program: inet_diag_bc_audit in
// net/ipv4/inet_diag.c, for the codes that are in use.
func audited(program []byte) error {
	order, starts := binary.NativeEndian, map[int]bool{len(program): true}
	type jump struct{ to, least int }
	var jumps []jump
	for at := 0; at < len(program); {
		if len(program)-at < 4 {
			return fmt.Errorf("half an operation at %d", at)
		}
		starts[at] = true
		least, ifTrue, ifFalse := 4, int(program[at+1]), int(order.Uint16(program[at+2:]))
		switch program[at] {
		case 1: // INET_DIAG_BC_JMP
		case 2, 3, 4, 5: // S_GE, S_LE, D_GE, D_LE
			least = 8
		case 7, 8: // S_COND, D_COND
			least = 12 + map[byte]int{unix.AF_INET: 4, unix.AF_INET6: 16}[program[at+4]]
			if int(program[at+5]) > 8*(least-12) {
				return fmt.Errorf("a prefix that is too long at %d", at)
			}
		default:
			return fmt.Errorf("code %d at %d", program[at], at)
		}
		rest := len(program) - at
		if least > rest || ifTrue < least || ifTrue > rest+4 || ifTrue%4 != 0 || ifFalse%4 != 0 || program[at] != 1 && ifFalse < least || ifFalse < 4 || ifFalse > rest+4 {
			return fmt.Errorf("code %d at %d goes on by %d or %d of %d", program[at], at, ifTrue, ifFalse, rest)
		}
		if ifFalse < rest {
			jumps = append(jumps, jump{at + ifFalse, 0})
		}
		at += ifTrue
	}
	for _, each := range jumps {
		if !starts[each.to] {
			return fmt.Errorf("goes on in the middle of an operation, at %d", each.to)
		}
	}
	return nil
}

// accepts runs a program as the kernel does: inet_diag_bc_run, same file.
func (p packet) accepts(program []byte) bool {
	order, left := binary.NativeEndian, len(program)
	for at := 0; left > 0; {
		isTrue, port := true, uint16(0)
		if code := program[at]; code >= 2 && code <= 5 {
			port = order.Uint16(program[at+6:])
		}
		switch program[at] {
		case 1:
			isTrue = false
		case 2:
			isTrue = p.local.Port() >= port
		case 3:
			isTrue = p.local.Port() <= port
		case 4:
			isTrue = p.remote.Port() >= port
		case 5:
			isTrue = p.remote.Port() <= port
		case 7:
			isTrue = p.isIn(p.local.Addr(), program[at+4:])
		case 8:
			isTrue = p.isIn(p.remote.Addr(), program[at+4:])
		}
		step := int(order.Uint16(program[at+2:]))
		if isTrue {
			step = int(program[at+1])
		}
		at, left = at+step, left-step
	}
	return left == 0
}

// isIn tells whether an address fits a struct inet_diag_hostcond for any port.
func (p packet) isIn(address netip.Addr, condition []byte) bool {
	family, bits, wanted := condition[0], int(condition[1]), condition[8:]
	content := address.AsSlice() // 16 bytes for a mapped one
	switch {
	case family == unix.AF_INET && p.family == unix.AF_INET6:
		if !address.Is4In6() {
			return false
		}
		content = content[12:]
	case family != p.family:
		return false
	}
	for i := range bits {
		if (content[i/8]^wanted[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

// socket returns what the program's own rules see.
func (p packet) socket() *socket {
	s := &socket{proto: "tcp"}
	if p.family == unix.AF_INET6 {
		s.proto = "tcp6"
	}
	s.Status = "ESTABLISHED"
	s.Laddr.IP, s.Laddr.Port = usualAddress(p.local.Addr()), uint32(p.local.Port())
	s.Raddr.IP, s.Raddr.Port = usualAddress(p.remote.Addr()), uint32(p.remote.Port())
	return s
}

var boundFilters = []struct {
	arguments string
	isSame    bool // the kernel leaves out all that our own rules do
}{
	{"--local-port 443", true},
	{"--local-port 1-65535", true},
	{"--local-port 80,443,8000-8100", true},
	{"--remote-port 443,1-79", true},
	{"--local-port 80-443 --remote-port 80,443", true},
	{"--local-address 10.0.0.1", true},
	{"--local-address 10.0.0.0/9,fd00::1", true},
	{"--remote-address 0.0.0.0/0", true},
	{"--remote-address ::ffff:10.0.0.0/104", true},
	{"--remote-address fd00::/15,10.0.0.1,fe80::/10", true},
	{"--remote-address 10.0.0.1/31 --local-address fd00::/8,10.0.0.0/8 --local-port 80 --remote-port 1-500", true},
	{"--local-port " + ports(120) + " --remote-port 443", true},
	{"--remote-address ::/0", false}, // IPv4-mapped ones are IPv4 to us
	{"--local-port 80,not:443", false},
	{"--local-port not:443", false},
	{"--remote-address 10.0.0.0/8,not:10.0.0.1 --local-port 80", false},
	{"--local-port " + ports(2000), false}, // too long for a program
}

func ports(number int) string {
	var all []string
	for i := range number {
		all = append(all, fmt.Sprint(3*i+1))
	}
	return strings.Join(all, ",")
}

func TestKernelLeavesOutWhatOurRulesLeaveOut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) netip.Addr { return netip.MustParseAddr(of[random.IntN(len(of))]) }
	end := func(isIPv6 bool) netip.AddrPort {
		port := []uint16{1, 79, 80, 81, 443, 8000, 8101, 65535}[random.IntN(8)]
		if isIPv6 {
			return netip.AddrPortFrom(pick("fd00::1", "fd00::2", "fc00::1", "::ffff:10.0.0.1", "::ffff:10.128.0.1", "::ffff:192.168.0.1", "fe80::1", "::1"), port)
		}
		return netip.AddrPortFrom(pick("10.0.0.1", "10.0.0.0", "10.128.0.1", "192.168.0.1", "127.0.0.1"), port)
	}
	for _, test := range boundFilters {
		asked := configOf(t, strings.Fields(test.arguments)...).question
		program := bytecode(asked.bounds(0))
		if err := audited(program); err != nil {
			t.Errorf("%.60s: the kernel would refuse %v: %v", test.arguments, program, err)
			continue
		}
		kept, left := 0, 0
		for range 5000 {
			p := packet{family: unix.AF_INET}
			isIPv6 := random.IntN(2) == 0
			if isIPv6 {
				p.family = unix.AF_INET6
			}
			p.local, p.remote = end(isIPv6), end(isIPv6)
			isOurs, isKernels := asked.asks(p.socket()) == yes, p.accepts(program)
			if isOurs && !isKernels || isKernels != isOurs && test.isSame {
				t.Fatalf("%.60s: %v: our rules %t, the kernel %t", test.arguments, p, isOurs, isKernels)
			}
			if isOurs {
				kept++
			} else {
				left++
			}
		}
		if kept == 0 || left == 0 && !strings.Contains(test.arguments, "1-65535") {
			t.Errorf("%.60s: of the sockets %d count and %d do not", test.arguments, kept, left)
		}
	}
}
