package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	stdnet "net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// rowsWithEnds returns the sockets in the kernel's own files, with both ends. It
// shares no code with the program but for the names of statuses.
func rowsWithEnds(t *testing.T) (all []*socket) {
	t.Helper()
	end := func(text string) (string, uint32) {
		digits, port, _ := strings.Cut(text, ":")
		content, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(content); at += 4 { // words in the order of the machine
			binary.NativeEndian.PutUint32(content[at:], binary.BigEndian.Uint32(content[at:]))
		}
		address, _ := netip.AddrFromSlice(content)
		number, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		return address.Unmap().String(), uint32(number)
	}
	for _, kind := range socketTypes {
		file, err := os.Open("/proc/thread-self/net/" + kind)
		if os.IsNotExist(err) {
			continue // IPv6 is off
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan(); lines.Scan(); {
			words := strings.Fields(lines.Text())
			s := &socket{proto: kind}
			number, err := strconv.ParseUint(words[3], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			if s.Status = tcpStates[number]; isUDP(kind) {
				s.Status = statusNone
			}
			s.Laddr.IP, s.Laddr.Port = end(words[1])
			s.Raddr.IP, s.Raddr.Port = end(words[2])
			all = append(all, s)
		}
		_ = file.Close()
	}
	return all
}

// What the kernel leaves out is what our own rules leave out of all that it has.
func TestFiltersOfTheKernelCountWhatItHas(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.EveryStatus(t)
	e2e.Connect(t, "0.0.0.0:443", 20)
	for _, address := range []string{"127.0.0.2:8001", "127.0.0.3:8100"} {
		e2e.Connect(t, address, 7)
	}
	filters := []string{
		"--remote-address 127.0.0.0/8", "--remote-address 127.0.0.2/31", "--remote-address ::1", "--local-address ::ffff:127.0.0.1",
		"--local-address 0.0.0.0,::", "--local-address 127.0.0.1 --remote-port 443", "--remote-address 127.0.0.0/8,::1,::ffff:0:0/96 --local-port 1-9999",
		"--local-port 443 --by direction", "--remote-address 127.0.0.2 --by direction", "--local-port 8000-8100 --min-idle 1ns",
	}
	for _, test := range boundFilters {
		filters = append(filters, test.arguments)
	}
	for _, arguments := range filters {
		asked := configOf(t, strings.Fields(arguments)...).question
		want := map[string]int{}
		for _, s := range rowsWithEnds(t) {
			s.idle = 1 << 60
			if asked.asks(s) == yes {
				want[s.proto+"_"+s.Status]++
			}
		}
		for _, user := range []uint32{0, nobody} {
			output, code := runBy(t, user, plugin, append(strings.Fields(arguments), "--by", "type,status", "--verbose")...)
			got := map[string]int{}
			for value := range strings.FieldsSeq(valuesOf(output)) {
				label, typed, _ := strings.Cut(value, "=")
				if direction, rest, _ := strings.Cut(label, "_"); !strings.HasPrefix(direction, "tcp") && !strings.HasPrefix(direction, "udp") {
					label = rest
				}
				number, _ := strconv.Atoi(typed)
				got[label] += number
			}
			for label, number := range want {
				if got[label] != number {
					t.Errorf("%.60s: %s: got %d, want %d", arguments, label, got[label], number)
				}
			}
			// Nothing says that the kernel refused the program.
			if code != 0 || len(got) != len(want) || strings.Count(output, "\n") != 2 || !strings.HasSuffix(output, " ms\n") {
				t.Errorf("%.60s: got %d %s, want %v", arguments, code, output, want)
			}
		}
	}
}

// The kernel keeps a listener of several sockets (SO_REUSEPORT) and what is bound
// alike: each is counted.
func TestSocketsThatLookAlikeAreCountedEach(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for range 9 {
		for kind, port := range map[int]int{unix.SOCK_STREAM: 7001, unix.SOCK_DGRAM: 7002} {
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				t.Fatal(err)
			}
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
				t.Fatal(err)
			}
			if kind == unix.SOCK_STREAM {
				if err := unix.Listen(fd, 64); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for range 60 {
		connection, err := stdnet.Dial("tcp4", "127.0.0.1:7001")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
	}
	for _, from := range []string{sourceNetlink, sourceList} {
		output, _ := runBy(t, nobody, plugin, "--source", from, "--no-perfdata")
		if text := textOf(output); text != "tcp ESTABLISHED: 120, tcp LISTEN: 9, udp NONE: 9" {
			t.Errorf("%s: got %s", from, output)
		}
	}
}
