package main

import (
	"context"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The headings of the files, as Linux writes them.
const (
	procHeading  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"
	procHeading6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)

// Lines of Linux 6.12 on x86-64: a listener, a connection that a process holds,
// one that nobody has accepted, an orphan, and one in TIME_WAIT.
const (
	procListen    = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1060 1 00000000ca5ca31b 100 0 0 10 0                      \n"
	procHeld      = "   1: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000 2000000001        0 1061 1 0000000000000000 20 4 30 10 -1                     \n"
	procWaiting   = "   2: 0100007F:1F90 0200007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1                     \n"
	procOrphan    = "   3: 0100007F:9C40 0300007F:01BB 04 00000001:00000000 01:00000019 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1                     \n"
	procTimeWait  = "   4: 0100007F:1F90 0200007F:C352 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 0000000000000000                                      \n"
	procDatagram  = " 1234: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1062 2 0000000000000000 0         \n"
	procListen6   = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1063 1 0000000000000000 100 0 0 10 0\n"
	procMapped6   = "   1: 0000000000000000FFFF00000500000A:0050 0000000000000000FFFF00000900000A:EA60 08 00000000:00000000 00:00000000 00000000     0        0 1063 1 0000000000000000 100 0 0 10 0\n"
	procConnected = "   1: B80D0120000000000000000001000000:0035 B80D0120000000000000000002000000:D431 01 00000000:00000000 00:00000000 00000000     0        0 1062 2 0000000000000000 0\n"
)

// procEnd is an end of a socket in a line.
var procEnd = regexp.MustCompile(`\b([0-9A-F]{8}){1,4}:[0-9A-F]{4} `)

// inNativeWords turns lines of a little-endian kernel into those of a kernel of
// this machine.
func inNativeWords(lines string) string {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return lines
	}
	return procEnd.ReplaceAllStringFunc(lines, func(end string) string {
		words, port, _ := strings.Cut(end, ":")
		turned := ""
		for ; words != ""; words = words[8:] {
			turned += words[6:8] + words[4:6] + words[2:4] + words[:2]
		}
		return turned + ":" + port
	})
}

// procHost makes a host of the files, below /proc/thread-self/net where a name
// has no folder. Process 7, web, holds the sockets of these lines.
func procHost(t *testing.T, files map[string]string) *host {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{"7/comm": "web\n", "7/status": "Uid:\t2000000002\t2000000002\n"}
	for name, content := range files {
		if !strings.Contains(name, "/") {
			name = "thread-self/net/" + name
		}
		all[name] = content
	}
	for name, content := range all {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(inNativeWords(content)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "7/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, inode := range []string{"1060", "1061", "1062", "1063"} {
		if err := os.Symlink("socket:["+inode+"]", filepath.Join(root, "7/fd", string(rune('3'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{procfs: procfs(root), source: sourceProc, spaces: []namespace{{}}}
	h.holders = newHolders(h.procfs, h.log, h.userText)
	return h
}

// procCounts returns the sockets of the host by key.
func procCounts(t *testing.T, h *host, asked *tally) (map[string]int, error) {
	t.Helper()
	found, err := count(h.dumps(t.Context(), []*tally{asked}), asked)
	if err != nil {
		return nil, err
	}
	known := map[string]int{}
	for _, r := range found.counts[0].rows {
		known[strings.ReplaceAll(r.key, keySeparator, " ")] = r.known
	}
	return known, nil
}

// procDimensions are all that the files tell of a socket.
var procDimensions = grouping{byType, byStatus, byProcess, byUser, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort, byDirection}

func TestLinesOfProcBecomeSockets(t *testing.T) {
	h := procHost(t, map[string]string{
		"tcp":  procHeading + procListen + procHeld + procWaiting + procWaiting + procOrphan + procTimeWait,
		"tcp6": procHeading6 + procListen6 + procMapped6,
		"udp":  " " + procHeading + procDatagram + procDatagram + procDatagram, // which look alike
		"udp6": procHeading6 + procConnected,
	})
	for _, test := range []struct {
		name string
		by   grouping
		q    question
		want map[string]int
	}{
		{"all that there is", procDimensions, question{}, map[string]int{
			"tcp LISTEN web root 127.0.0.1 8080 - - listen":                    1,
			"tcp ESTABLISHED web 2000000001 127.0.0.1 8080 127.0.0.2 50000 in": 1,
			"tcp ESTABLISHED web root 127.0.0.1 8080 127.0.0.2 50001 in":       2, // it is the listener's
			"tcp FIN_WAIT1 - - 127.0.0.1 40000 127.0.0.3 443 out":              1,
			"tcp TIME_WAIT - - 127.0.0.1 8080 127.0.0.2 50002 in":              1,
			"tcp6 LISTEN web root :: 80 - - listen":                            1,
			"tcp6 CLOSE_WAIT web root 10.0.0.5 80 10.0.0.9 60000 in":           1,
			"udp NONE web root 0.0.0.0 53 - - -":                               3,
			"udp6 NONE web root 2001:db8::1 53 2001:db8::2 54321 out":          1,
		}},
		{"by type and status", grouping{byType, byStatus}, question{}, map[string]int{
			"tcp LISTEN": 1, "tcp ESTABLISHED": 3, "tcp FIN_WAIT1": 1, "tcp TIME_WAIT": 1, "tcp6 LISTEN": 1, "tcp6 CLOSE_WAIT": 1, "udp NONE": 3, "udp6 NONE": 1,
		}},
		{"one status, with its listeners", grouping{byProcess}, question{statuses: []string{"ESTABLISHED"}}, map[string]int{"web": 3}},
		{"one type", grouping{byType}, question{types: []string{"udp6"}}, map[string]int{"udp6": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := procCounts(t, h, test.q.tally(test.by)); err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got  %v, %v\nwant %v", got, err, test.want)
			}
		})
	}
}

func TestAddressesOfBothByteOrders(t *testing.T) {
	const mapped, local = "00000000000000000000FFFF0A000005", "FE800000000000000000000000000001"
	for _, test := range []struct {
		order  binary.ByteOrder
		family uint8
		text   string
		want   string
	}{
		{binary.LittleEndian, unix.AF_INET, "0100007F:1F90", "127.0.0.1"},
		{binary.BigEndian, unix.AF_INET, "7F000001:1F90", "127.0.0.1"},
		{binary.LittleEndian, unix.AF_INET6, "00000000000000000000000001000000:1F90", "::1"},
		{binary.BigEndian, unix.AF_INET6, "00000000000000000000000000000001:1F90", "::1"},
		{binary.BigEndian, unix.AF_INET6, mapped + ":1F90", "10.0.0.5"},
		{binary.LittleEndian, unix.AF_INET6, "000080FE000000000000000001000000:1F90", "fe80::1"},
		{binary.BigEndian, unix.AF_INET6, local + ":1F90", "fe80::1"},
		{binary.BigEndian, unix.AF_INET6, "7F000001:1F90", ""},
		{binary.BigEndian, unix.AF_INET, local + ":1F90", ""},
		{binary.BigEndian, unix.AF_INET, "7F00000G:1F90", ""},
		{binary.BigEndian, unix.AF_INET, "7F000001:1F9", ""},
		{binary.BigEndian, unix.AF_INET, "7F000001-1F90", ""},
		{binary.BigEndian, unix.AF_INET, "7F000001:+F90", ""},
	} {
		var address [16]byte
		port, ok := parseProcEnd(&address, []byte(test.text), test.family, test.order)
		r := newResolver(&pass{})
		if got := r.address(uint32(test.family), address[:]); ok && (got != test.want || port != 8080) || ok != (test.want != "") {
			t.Errorf("%s, %s: got %s %d, %v", test.text, test.order, got, port, ok)
		}
	}
}

func TestAddressesOfTwoFamiliesAreNotMixedUp(t *testing.T) {
	r := newResolver(&pass{})
	for range 2 {
		for family, want := range map[uint32]string{unix.AF_INET: "0.0.0.0", unix.AF_INET6: "::"} {
			if got := r.address(family, make([]byte, 16)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

func TestFaultsOfProc(t *testing.T) {
	whole := procHeading + procListen
	line := func(old, replacement string) string {
		return procHeading + strings.Replace(procHeld, old, replacement, 1)
	}
	for _, test := range []struct {
		name, file, content string
		message             string // behind the path
	}{
		{"no heading", "tcp", procListen, ": it has no heading, so this is not the kernel's list"},
		{"empty", "udp6", "", ": it is empty: the kernel's list begins with a heading"},
		{"a heading that is cut", "tcp", "  sl", ": it ends in the middle of line 1"},
		{"cut in a line", "tcp", whole[:len(whole)-60], ": it ends in the middle of line 2"},
		{"cut at the end of a line", "tcp", strings.TrimSuffix(whole, "\n"), ": it ends in the middle of line 2"},
		{"a line without an end", "tcp", procHeading + strings.Repeat(" ", 64<<10), ": bufio: buffer full"},
		{"an empty line", "tcp", whole + "\n", `: line 3 is not that of a socket: ""`},
		{"a line of too few columns", "tcp", whole + "   0: 0100007F:1F90\n", `: line 3 is not that of a socket: "0: 0100007F:1F90"`},
		{"an address of the other family", "tcp6", whole, ": line 2 is not that of a socket: "},
		{"an unknown status", "tcp", line(" 01 ", " 0E "), ": line 2 is not that of a socket: "},
		{"no status", "tcp", line(" 01 ", " 00 "), ": line 2 is not that of a socket: "},
		{"a user that is no number", "tcp", line("2000000001", "root"), ": line 2 is not that of a socket: "},
		{"an inode that is no number", "tcp", line("1061", "-1"), ": line 2 is not that of a socket: "},
		{"another list", "tcp", line("1:", "1"), ": line 2 is not that of a socket: "},
		{"a listener behind a connection", "tcp", procHeading + procHeld + procListen, ": line 3 is out of order: what listens is not listed first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"tcp": procHeading, "tcp6": procHeading6, "udp": procHeading, "udp6": procHeading6}
			files[test.file] = test.content
			h := procHost(t, files)
			got, err := procCounts(t, h, (&question{}).tally(procDimensions))
			want := " sockets cannot be read: proc: " + string(h.procfs) + "/thread-self/net/" + test.file + test.message
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %v\nwant %s", got, err, want)
			}
		})
	}
}

func TestFilesOfProcThatAreNotThere(t *testing.T) {
	const missing = "no such file or directory"
	for _, test := range []struct {
		name    string
		without []string
		message string
	}{
		{"IPv6 is off", []string{"tcp6", "udp6"}, ""},
		{"none of TCP", []string{"tcp"}, "the tcp sockets cannot be read: proc: open ROOT/thread-self/net/tcp: " + missing},
		{"none of UDP", []string{"udp"}, "the udp sockets cannot be read: proc: open ROOT/thread-self/net/udp: " + missing},
		{"nothing at all", []string{"tcp", "tcp6", "udp", "udp6"}, "the tcp sockets cannot be read: proc: open ROOT/thread-self/net/tcp: " + missing},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"tcp": procHeading + procListen, "tcp6": procHeading6, "udp": procHeading, "udp6": procHeading6}
			maps.DeleteFunc(files, func(name, _ string) bool { return slices.Contains(test.without, name) })
			h := procHost(t, files)
			got, err := procCounts(t, h, (&question{}).tally(grouping{byType}))
			switch want := strings.ReplaceAll(test.message, "ROOT", string(h.procfs)); {
			case want == "" && (err != nil || got["tcp"] != 1 || len(got) != 1):
				t.Errorf("got %v, %v", got, err)
			case want != "" && (err == nil || err.Error() != want):
				t.Errorf("got %v, %v\nwant %s", got, err, want)
			}
		})
	}
	h := procHost(t, map[string]string{"udp": procHeading})
	if got, err := procCounts(t, h, (&question{types: []string{"tcp6"}}).tally(nil)); err == nil {
		t.Errorf("IPv6 alone, without a file of IPv4: got %v", got)
	}
}

func TestHalfOpenConnectionsStoodBehindTheirListener(t *testing.T) {
	halfOpen := strings.Replace(procWaiting, " 01 ", " 03 ", 1)
	second := strings.Replace(procListen, ":1F90", ":1F91", 1)
	h := procHost(t, map[string]string{"tcp": procHeading + procListen + halfOpen + second, "tcp6": procHeading6})
	want := map[string]int{"LISTEN web listen": 2, "SYN_RECV web in": 1}
	if got, err := procCounts(t, h, (&question{types: []string{"tcp", "tcp6"}}).tally(grouping{byStatus, byProcess, byDirection})); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWhatNeedsNetlink(t *testing.T) {
	h := procHost(t, map[string]string{"tcp": procHeading, "tcp6": procHeading6})
	for message, asked := range map[string]fields{
		"idle times need netlink": fieldIdle,
		"units need netlink":      fieldUnit,
		"ephemeral ports and accept queues need netlink: name the other limits instead (conntrack, orphans, memory, files)": fieldBound,
	} {
		asking := (&question{types: []string{"tcp"}}).tally(nil)
		asking.fields |= asked
		if got, err := procCounts(t, h, asking); err == nil || err.Error() != "the tcp sockets cannot be read: proc: "+message {
			t.Errorf("%s: got %v, %v", message, got, err)
		}
	}
}

func TestReadingOfProcEndsWithItsTime(t *testing.T) {
	h := procHost(t, map[string]string{"tcp": procHeading + procListen, "tcp6": procHeading6})
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	asked := (&question{types: []string{"tcp"}}).tally(nil)
	if _, err := count(h.dumps(ctx, []*tally{asked}), asked); err == nil || err.Error() == "" || ctx.Err() == nil || !strings.Contains(err.Error(), ctx.Err().Error()) {
		t.Errorf("got %v", err)
	}
}

func TestLinesOfProcAreParsedWithoutAllocating(t *testing.T) {
	one := new(procRow)
	line := []byte(procConnected)
	if allocations := testing.AllocsPerRun(100, func() {
		if !one.parse(line, unix.AF_INET6, binary.NativeEndian) {
			t.Error("it is not parsed")
		}
	}); allocations > 0 {
		t.Errorf("%g allocations", allocations)
	}
}

func TestOwnersOfProcAreFoundOnce(t *testing.T) {
	h := procHost(t, map[string]string{"tcp": procHeading + procListen + procHeld, "tcp6": procHeading6})
	for range 2 {
		if got, err := procCounts(t, h, (&question{types: []string{"tcp"}}).tally(grouping{byProcess})); err != nil || got["web"] != 2 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if h.holders.walks != 1 {
		t.Errorf("%d looks at the processes", h.holders.walks)
	}
}
