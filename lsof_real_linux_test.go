package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// heldSockets counts the sockets that a process holds, with all that both lsof
// and netlink know of them.
func heldSockets() *tally {
	usual := func(address string) string {
		if address == "0.0.0.0" || address == "::" { // lsof has * for both
			return "*"
		}
		return address
	}
	return &tally{
		includes: func(string, string) bool { return true },
		fields:   fieldProcess | fieldUser | fieldLocalAddress | fieldLocalPort | fieldRemoteAddress | fieldRemotePort | fieldDirection,
		asks: func(s *socket) answer {
			if len(s.holders) == 0 || s.isWaiting {
				return no
			}
			return yes
		},
		key: func(to []byte, s *socket) []byte {
			sorted := slices.Clone(s.holders)
			slices.SortFunc(sorted, func(a, b holder) int { return int(a.pid - b.pid) })
			to = fmt.Append(to, s.proto, " ", s.Status, " ", usual(s.Laddr.IP), ":", s.Laddr.Port, " ", usual(s.Raddr.IP), ":", s.Raddr.Port, " ", s.direction, " ", s.user)
			for _, h := range sorted {
				to = fmt.Append(to, " ", h.pid, "=", h.user)
			}
			return to
		},
	}
}

// socketsByKey returns how many sockets have each key.
func socketsByKey(c *counts) map[string]int {
	all := map[string]int{}
	for _, r := range c.rows {
		all[r.key] = r.known
	}
	return all
}

// compareWithNetlink compares what lsof lists with what the kernel says of the
// sockets that processes hold, and returns how many there are.
func compareWithNetlink(t *testing.T) (sockets int) {
	t.Helper()
	config := &options{netns: netnsSelf, source: sourceNetlink}
	live, err := openHost(config)
	if err != nil {
		t.Fatal(err)
	}
	asked := []*tally{heldSockets()}
	kernel, err := count(live.dumps(t.Context(), asked), asked...)
	if err != nil {
		t.Fatal(err)
	}
	found := newCounter(asked)
	if err := readLsof(t.Context(), debugLog{}, found); err != nil {
		t.Fatal(err)
	}
	want, got := socketsByKey(kernel.counts[0]), socketsByKey(found[0])
	if !maps.Equal(got, want) {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if got[key] != want[key] {
				t.Errorf("lsof has %d, the kernel %d: %s", got[key], want[key], key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if _, isThere := want[key]; !isThere {
				t.Errorf("lsof has %d, the kernel 0: %s", got[key], key)
			}
		}
	}
	sockets, _ = found[0].sum()
	return sockets
}

func needLsof(t *testing.T) {
	t.Helper()
	e2e.Need(t, "lsof", "lsof")
	e2e.NeedRoot(t)
}

func TestLsofListsWhatTheKernelSaysThatProcessesHold(t *testing.T) {
	needLsof(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	if sockets := compareWithNetlink(t); sockets != 0 {
		t.Errorf("%d sockets where there are none", sockets)
	}
	made := e2e.EveryStatus(t)
	all := 0
	for _, number := range made {
		all += number
	}
	if sockets := compareWithNetlink(t); sockets < all/2 || sockets >= all {
		t.Errorf("%d of %d sockets are held", sockets, all)
	}
}

func TestASocketThatProcessesShareCountsOnceWithLsof(t *testing.T) {
	needLsof(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	var files []*os.File
	for range 50 {
		packet, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer packet.Close()
		file, err := packet.(*net.UDPConn).File() // holds it once more
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		files = append(files, file)
	}
	for range 8 {
		child := exec.Command("sleep", "infinity")
		child.ExtraFiles = files
		e2e.Start(t, child)
	}
	if sockets := compareWithNetlink(t); sockets != 50 {
		t.Errorf("50 sockets are %d", sockets)
	}
	s := oneSocket(t)
	if len(s.holders) != 9 || s.process != "check_network_c+sleep" {
		t.Errorf("%d holders, %s", len(s.holders), s.process)
	}
}

// oneSocket returns the first socket that lsof lists.
func oneSocket(t *testing.T) socket {
	t.Helper()
	path, err := findLsof(lsofFolders)
	if err != nil {
		t.Fatal(err)
	}
	output, err := runLsof(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := parseLsof(output)
	if err != nil || len(sockets) == 0 {
		t.Fatalf("%d sockets, %v", len(sockets), err)
	}
	return sockets[0]
}

// From 10,000 on lsof has a star in place of the first digits of a descriptor.
func TestSocketsWithLargeDescriptorsCountWithLsof(t *testing.T) {
	needLsof(t)
	const many = 12_000
	if !e2e.OwnNetwork(t) {
		return
	}
	most := unix.Rlimit{Cur: many + 100, Max: many + 100}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &most); err != nil {
		e2e.Skip(t, fmt.Sprintf("%d descriptors are not to be had: %v", most.Cur, err))
	}
	for range many {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if sockets := compareWithNetlink(t); sockets != many {
		t.Errorf("%d sockets are %d", many, sockets)
	}
}

// A program that has shut a connection down holds it still, whatever comes of
// it. Once it is closed nobody does, and lsof says nothing of it.
func TestLsofListsAConnectionUntilItIsClosed(t *testing.T) {
	needLsof(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("tcp4", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	listed := func() []string {
		found := newCounter([]*tally{{asks: func(*socket) answer { return yes }, key: grouping{byStatus}.key}})
		if err := readLsof(t.Context(), debugLog{}, found); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(socketsByKey(found[0])))
	}
	if got := listed(); !slices.Equal(got, []string{"CLOSE_WAIT", "FIN_WAIT2", "LISTEN"}) {
		t.Errorf("shut down: %v", got)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if got := listed(); !slices.Equal(got, []string{"CLOSE_WAIT", "LISTEN"}) {
		t.Errorf("closed: %v", got)
	}
}
