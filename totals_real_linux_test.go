package main

import (
	"fmt"
	"maps"
	stdnet "net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// connected returns both ends of new connections to the listener, which has to
// accept them, by raw sockets of the family.
func connected(t *testing.T, family, protocol, number int, listening stdnet.Listener) (clients, servers []int) {
	t.Helper()
	address := listening.Addr().(*stdnet.TCPAddr).AddrPort()
	to := unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(address.Port())})
	if family == unix.AF_INET6 {
		to = &unix.SockaddrInet6{Addr: address.Addr().As16(), Port: int(address.Port())}
	}
	for range number {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		other, err := listening.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() })
		file, err := other.(*stdnet.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		clients, servers = append(clients, fd), append(servers, int(file.Fd()))
	}
	return clients, servers
}

// unusualSockets opens sockets that the kernel keeps in unusual ways: of MPTCP, that
// have become IPv4 ones, that nobody accepts, half open until data come, without
// a process.
func unusualSockets(t *testing.T) {
	t.Helper()
	listen := func(network, address string) stdnet.Listener {
		listening, err := stdnet.Listen(network, address) // of MPTCP, where the kernel has that
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listening.Close() })
		return listening
	}
	four := listen("tcp4", "127.0.0.1:0")
	connected(t, unix.AF_INET, 0, 2, four)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP); err == nil {
		_ = unix.Close(fd)
		connected(t, unix.AF_INET, unix.IPPROTO_MPTCP, 3, four)
		clients, _ := connected(t, unix.AF_INET, unix.IPPROTO_MPTCP, 2, four)
		for _, client := range clients {
			_ = unix.Shutdown(client, unix.SHUT_WR)
		}
	}
	if _, err := os.Stat("/proc/thread-self/net/tcp6"); err == nil {
		var plain stdnet.ListenConfig
		plain.SetMultipathTCP(false)
		mapped, err := plain.Listen(t.Context(), "tcp", "[::ffff:127.0.0.1]:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = mapped.Close() })
		address := mapped.Addr().(*stdnet.TCPAddr)
		for range 3 {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			to := &unix.SockaddrInet6{Port: address.Port, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
			if err := unix.Connect(fd, to); err != nil {
				t.Fatal(err)
			}
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, unix.AF_INET); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Nobody accepts these; the last ones become whole when data come.
	waiting, late := listen("tcp4", "127.0.0.1:0"), listen("tcp4", "127.0.0.1:0")
	raw, err := late.(*stdnet.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30) })
	if err != nil {
		t.Fatal(err)
	}
	for _, listening := range []stdnet.Listener{waiting, waiting, late, late} {
		connection, err := stdnet.Dial("tcp4", listening.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		if listening == waiting {
			_ = connection.(*stdnet.TCPConn).CloseWrite()
		}
	}
}

// Both ways to ask the kernel give the same numbers: those of its own files.
func TestTotalsAreTheNumbersOfTheList(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.EveryStatus(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		e2e.Connect(t, address, often(100, 2600))
	}
	unusualSockets(t)
	var rows map[e2e.Group]int
	e2e.WaitFor(t, time.Minute, "the sockets to settle", func() bool {
		before := rows
		rows = e2e.NetworkRows(t)
		return maps.Equal(before, rows)
	})
	for _, user := range []uint32{0, nobody} {
		for typed, from := range map[string]string{sourceNetlink: sourceTotals, sourceList: sourceNetlink} {
			output, code := runBy(t, user, plugin, "--source", typed, "--verbose")
			if found := rowsIn(t, output); code != 0 || !maps.Equal(found, rows) {
				t.Errorf("user %d, %s: got %d %s\nwant %v", user, from, code, output, rows)
			}
			if !strings.Contains(output, " sockets counted, read from "+from+" in ") {
				t.Errorf("user %d, %s: got %s", user, from, output)
			}
		}
	}
	for _, arguments := range []string{"--conn-type tcp6", "--conn-status established", "--conn-status established,listen --conn-type tcp", "-c limits=100"} {
		for _, from := range []string{sourceNetlink, sourceList} {
			output, _ := runBy(t, 0, plugin, append(strings.Fields(arguments), "--source", from, "--no-details")...)
			first, _, _ := strings.Cut(output, "backlog=")
			for one, number := range rowsIn(t, strings.Split(first, "ephemeral_ports=")[0]) {
				if number != rows[one] {
					t.Errorf("%s, %s: %v: got %d, want %d", arguments, from, one, number, rows[one])
				}
			}
		}
	}
	t.Logf("with %d established", rows[e2e.Group{Type: "tcp", Status: "ESTABLISHED"}]+rows[e2e.Group{Type: "tcp6", Status: "ESTABLISHED"}])
}

// A server of TCP Fast Open has whole sockets for connections that are half open:
// the totals would be wrong then.
func TestFastOpenServersAreListed(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Connect(t, "127.0.0.1:0", 100)
	// Client and server, without cookies: Documentation/networking/ip-sysctl.rst.
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("519"), 0); err != nil {
		e2e.Skip(t, "TCP Fast Open cannot be switched on: "+err.Error())
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 7000}
	for _, err := range []error{unix.Bind(fd, to), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16), unix.Listen(fd, 16)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(from string) {
		t.Helper()
		rows := e2e.NetworkRows(t)
		output, code := runBy(t, nobody, plugin, "--source", sourceNetlink, "--verbose")
		if found := rowsIn(t, output); code != 0 || !maps.Equal(found, rows) || !strings.Contains(output, " read from "+from+" in ") {
			t.Errorf("got %d %s\nwant %v from %s", code, output, rows, from)
		}
	}
	expect(sourceTotals)
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	for range 3 { // clients that do not hear the answer
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(client)
		if err := unix.SetsockoptSockFprog(client, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendto(client, []byte("x"), unix.MSG_FASTOPEN, to); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	if accepted, _, err := unix.Accept(fd); err != nil { // a whole one, though half open
		t.Fatal(err)
	} else {
		defer unix.Close(accepted)
	}
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "SYN_RECV"}: 3})
	expect(sourceNetlink)
}

// A network namespace can have a table of connections of its own.
func TestTotalsOfANamespaceWithItsOwnTable(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_child_ehash_entries", []byte("64"), 0); err != nil {
		e2e.Skip(t, "the kernel has one table for all network namespaces (before Linux 6.1): "+err.Error())
	}
	process := newSpace(t, "inner", 120)
	for typed, from := range map[string]string{sourceNetlink: sourceTotals, sourceList: sourceNetlink} {
		output, code := runBy(t, 0, plugin, "--netns", strconv.Itoa(process.Pid), "--source", typed, "--verbose")
		if text := textOf(output); text != "tcp ESTABLISHED: 240, tcp LISTEN: 1" || code != 0 || !strings.Contains(output, " read from "+from+" in ") {
			t.Errorf("%s: got %d %s", from, code, output)
		}
	}
}

func TestEachNamespaceIsWalkedThroughOnce(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Connect(t, "127.0.0.1:0", 150)
	all := spaces{processes: nil}
	for i := range 3 {
		all.processes = append(all.processes, newSpace(t, fmt.Sprint("space", i), 60*i))
	}
	for arguments, want := range map[string][2]int{ // walks through all TCP sockets, and through those that only have a port
		"":            {1, 0},
		"-w limits=1": {1, 1}, // ports and queues are counted in the same pass
		"--by direction,local-port,remote-address": {1, 0},
		"--netns all":                {4, 0},
		"--netns all -w limits=1":    {4, 4},
		"--netns all --by process":   {4, 0},
		"--netns all --by direction": {4, 0},
	} {
		command := all.command(t, plugin, append(strings.Fields(arguments), "--debug", "--no-details")...)
		var told strings.Builder
		command.Stderr = &told
		_ = command.Run()
		var walks [2]int
		for line := range strings.Lines(told.String()) {
			for i, kind := range []string{"netlink: [tcp", "netlink: bound [tcp"} {
				if strings.Contains(line, kind) && strings.Contains(line, "error none") {
					walks[i]++
				}
			}
		}
		if walks != want {
			t.Errorf("%s: %v walks, want %v:\n%s", arguments, walks, want, told.String())
		}
	}
}
