package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	stdnet "net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/shirou/gopsutil/v3/net"
	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// kernelMessages returns what a kernel (Linux 6.18, amd64) answered to the dump
// of one type, with sockets in every status that can be made: the bodies of the
// messages, in the byte order of this machine.
func kernelMessages(t testing.TB, socketType string) [][]byte {
	t.Helper()
	file, err := os.Open("testdata/netlink-" + socketType + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var messages [][]byte
	for lines := bufio.NewScanner(file); lines.Scan(); {
		message, err := hex.DecodeString(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, inNativeOrder(message))
	}
	return messages
}

// inNativeOrder turns a message of a little-endian kernel into that of a kernel
// of this machine: all but ports and addresses is in the order of the machine.
// Of a struct tcp_info, and of no other attribute, the content is turned too.
func inNativeOrder(message []byte) []byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return message
	}
	turn := func(from, to, size int) {
		for at := from; at+size <= to; at += size {
			slices.Reverse(message[at : at+size])
		}
	}
	turn(40, sizeofInetDiagMsg, 4) // idiag_if, idiag_cookie, ... idiag_inode
	for at := sizeofInetDiagMsg; at+4 <= len(message); {
		length, kind := int(binary.LittleEndian.Uint16(message[at:])), binary.LittleEndian.Uint16(message[at+2:])
		turn(at, at+4, 2)
		if kind == inetDiagInfo {
			turn(at+4+8, at+length, 4) // behind eight single bytes; those of 64 bits nobody reads
		}
		at += (length + 3) &^ 3
	}
	return message
}

func mustDump(t testing.TB, socketType string, statuses ...string) dump {
	t.Helper()
	d, wanted := newDump(socketType, Selection{Statuses: statuses})
	if !wanted {
		t.Fatalf("nothing to ask for: %s %v", socketType, statuses)
	}
	return d
}

// kernel returns the datagrams that answer a request.
type kernel func(request netlink.Message) ([][]byte, error)

// answers sets up kernels that answer in turn, one for each request, and the
// last one ever after.
func answers(all ...kernel) *sockDiag {
	next := 0
	return &sockDiag{dial: func() (*netlink.Conn, error) {
		kernel := all[min(next, len(all)-1)]
		next++
		return dialKernel(kernel)
	}}
}

// kernelSocket is one end of a pair of sockets, with a kernel at the other one.
type kernelSocket struct {
	*os.File
	kernel  kernel
	other   *os.File
	answers sync.WaitGroup
}

func dialKernel(kernel kernel) (*netlink.Conn, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return netlink.NewConn(&kernelSocket{
		File: os.NewFile(uintptr(ends[0]), "netlink"), kernel: kernel, other: os.NewFile(uintptr(ends[1]), "kernel"),
	}, 0), nil
}

func (s *kernelSocket) Send(request netlink.Message) error {
	datagrams, err := s.kernel(request)
	s.answers.Go(func() {
		for _, datagram := range datagrams {
			if _, err := s.other.Write(datagram); err != nil {
				return // nobody reads it
			}
		}
	})
	return err
}

func (s *kernelSocket) Close() error {
	err := s.File.Close()
	s.answers.Wait()
	return errors.Join(err, s.other.Close())
}

// datagramOf returns what the kernel would send: each message as its header
// says, filled up to a multiple of four bytes.
func datagramOf(messages ...netlink.Message) (datagram []byte) {
	for _, message := range messages {
		header := message.Header
		if header.Length == 0 {
			header.Length = uint32(unix.SizeofNlMsghdr + len(message.Data))
		}
		for _, field := range []any{header, message.Data, make([]byte, -len(message.Data)&3)} {
			datagram, _ = binary.Append(datagram, binary.NativeEndian, field)
		}
	}
	return datagram
}

func (*kernelSocket) SendMessages([]netlink.Message) error { return errors.ErrUnsupported }
func (*kernelSocket) Receive() ([]netlink.Message, error)  { return nil, errors.ErrUnsupported }
func (*kernelSocket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) { yield(netlink.Message{}, errors.ErrUnsupported) }
}

// sockets answers with the bodies as one whole dump.
func sockets(bodies [][]byte) kernel {
	return altered(bodies, func([]netlink.Message) {})
}

// altered answers with the messages of a whole dump as the change leaves them,
// two in each datagram.
func altered(bodies [][]byte, change func([]netlink.Message)) kernel {
	return func(request netlink.Message) ([][]byte, error) {
		messages := make([]netlink.Message, 0, len(bodies)+1)
		for _, body := range append(bodies, make([]byte, 4)) {
			messages = append(messages, netlink.Message{
				Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Multi, Sequence: request.Header.Sequence},
				Data:   body,
			})
		}
		messages[len(bodies)].Header.Type = netlink.Done
		change(messages)
		var datagrams [][]byte
		for pair := range slices.Chunk(messages, 2) {
			datagrams = append(datagrams, datagramOf(pair...))
		}
		return datagrams, nil
	}
}

// before answers with the sockets, and the message before the end of the dump
// as the change leaves it.
func before(bodies [][]byte, change func(*netlink.Message)) kernel {
	return altered(bodies, func(messages []netlink.Message) { change(&messages[len(bodies)-1]) })
}

// endsWith answers with the sockets, and the end of the dump as the change
// leaves it.
func endsWith(bodies [][]byte, change func(*netlink.Message)) kernel {
	return altered(bodies, func(messages []netlink.Message) { change(&messages[len(bodies)]) })
}

func refuses(number unix.Errno) kernel {
	return func(request netlink.Message) ([][]byte, error) {
		return [][]byte{datagramOf(netlink.Message{
			Header: netlink.Header{Type: netlink.Error, Sequence: request.Header.Sequence},
			Data:   errorNumber(number),
		})}, nil
	}
}

// errorNumber returns the number as the kernel sends it.
func errorNumber(number unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, -uint32(number))
}

func TestKernelMessagesAreCounted(t *testing.T) {
	tests := []struct {
		socketType string
		counts     map[string]int
	}{
		{"tcp", map[string]int{
			"CLOSE_WAIT": 2, "CLOSING": 1, "ESTABLISHED": 4, "FIN_WAIT1": 3, "FIN_WAIT2": 4,
			"LAST_ACK": 2, "LISTEN": 10, "SYN_RECV": 1, "SYN_SENT": 2, "TIME_WAIT": 1,
		}},
		{"tcp6", map[string]int{
			"CLOSE_WAIT": 4, "CLOSING": 2, "ESTABLISHED": 8, "FIN_WAIT1": 6, "FIN_WAIT2": 8,
			"LAST_ACK": 4, "LISTEN": 20, "SYN_RECV": 2, "SYN_SENT": 4, "TIME_WAIT": 2,
		}},
		{"udp", map[string]int{"NONE": 4}},
		{"udp6", map[string]int{"NONE": 8}},
	}
	for _, test := range tests {
		t.Run(test.socketType, func(t *testing.T) {
			diag := answers(sockets(kernelMessages(t, test.socketType)))
			records := diag.records(mustDump(t, test.socketType))
			reading, err := countParts(part{name: test.socketType, sources: []source{{sourceNetlink, records}}})
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, group := range reading.Groups {
				total += group.Count
				if group.Type != test.socketType || group.Count != test.counts[group.Status] {
					t.Errorf("got %v, want %d", group, test.counts[group.Status])
				}
			}
			if len(reading.Groups) != len(test.counts) || reading.Sockets != total {
				t.Errorf("got %v, %d sockets", reading.Groups, reading.Sockets)
			}
		})
	}
}

func TestOnlyWhatIsSelectedIsAskedFor(t *testing.T) {
	tests := []struct {
		socketType string
		statuses   []string
		wanted     bool
		family     uint8
		protocol   uint8
		states     uint32
	}{
		{"tcp", nil, true, unix.AF_INET, unix.IPPROTO_TCP, 0b1111_1111_1110},
		{"tcp6", nil, true, unix.AF_INET6, unix.IPPROTO_TCP, 0b1111_1111_1110},
		{"udp", nil, true, unix.AF_INET, unix.IPPROTO_UDP, 0b1111_1111_1110},
		{"udp6", []string{"NONE", "LISTEN"}, true, unix.AF_INET6, unix.IPPROTO_UDP, 0b1111_1111_1110},
		{"tcp", []string{"CLOSE_WAIT"}, true, unix.AF_INET, unix.IPPROTO_TCP, 1 << unix.BPF_TCP_CLOSE_WAIT},
		{"tcp", []string{"SYN_RECV", "ESTABLISHED"}, true, unix.AF_INET, unix.IPPROTO_TCP, 1<<unix.BPF_TCP_SYN_RECV | 1<<unix.BPF_TCP_ESTABLISHED},
		{"udp", []string{"CLOSE_WAIT"}, false, 0, 0, 0},
		{"tcp", []string{"NONE"}, false, 0, 0, 0},
		{"tcp6", []string{"BOUND", "DELETE_TCB"}, false, 0, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.socketType+" "+strings.Join(test.statuses, ","), func(t *testing.T) {
			d, wanted := newDump(test.socketType, Selection{Statuses: test.statuses})
			if wanted != test.wanted {
				t.Fatalf("wanted: got %t", wanted)
			}
			if !wanted {
				return
			}
			request := d.request()
			if len(request.Data) != sizeofInetDiagReqV2 || request.Header.Type != 20 || request.Header.Flags != 0x301 {
				t.Errorf("got %v", request)
			}
			if request.Data[0] != test.family || request.Data[1] != test.protocol || d.states != test.states {
				t.Errorf("got family %d, protocol %d, states %b", request.Data[0], request.Data[1], d.states)
			}
		})
	}
}

func TestTruncatedAndCorruptMessagesAreRefused(t *testing.T) {
	d := mustDump(t, "tcp")
	good := kernelMessages(t, "tcp")[0]
	for length := range sizeofInetDiagMsg {
		if _, err := d.parse(good[:length]); err == nil {
			t.Errorf("%d bytes are taken for a socket", length)
		}
	}
	if _, err := d.parse(good[:sizeofInetDiagMsg]); err != nil {
		t.Errorf("a message without attributes is refused: %v", err)
	}
	for _, test := range []struct {
		position int
		value    byte
	}{{0, 0}, {0, unix.AF_INET6}, {0, unix.AF_UNIX}, {1, 0}, {1, 13}, {1, 255}} {
		bad := slices.Clone(good)
		bad[test.position] = test.value
		if socket, err := d.parse(bad); err == nil {
			t.Errorf("byte %d = %d gives %v", test.position, test.value, socket.record)
		}
	}
}

func TestADumpThatFailsIsNeverCountedInPart(t *testing.T) {
	bodies := kernelMessages(t, "tcp")
	whole := sockets(bodies)
	lost := func(netlink.Message) ([][]byte, error) { return nil, unix.ENOBUFS }
	fallback := source{sourceGopsutil, broken(errors.New("no /proc"))}
	all := len(bodies)
	tests := []struct {
		name    string
		answers []kernel
		sockets int
		message string
	}{
		{"whole", []kernel{whole}, all, ""},
		{"no sockets", []kernel{sockets(nil)}, 0, ""},
		{"whole at the second attempt", []kernel{lost, whole}, all, ""},
		{"whole at the last attempt", []kernel{lost, lost, whole}, all, ""},
		{"overrun each time", []kernel{lost}, 0, "no buffer space available"},
		{"not known to the kernel", []kernel{refuses(unix.ENOENT)}, 0, "no such file or directory"},
		{"not allowed", []kernel{refuses(unix.EPERM)}, 0, "operation not permitted"},
		{"an error in the last message", []kernel{before(bodies, func(m *netlink.Message) {
			m.Header.Type, m.Data = netlink.Error, errorNumber(unix.ENOMEM)
		})}, 0, "cannot allocate memory"},
		{"a success in place of a socket", []kernel{before(bodies, func(m *netlink.Message) {
			m.Header.Type, m.Data = netlink.Error, errorNumber(0)
		})}, 0, "the kernel answered something that was not asked"},
		{"an error that is cut off", []kernel{before(bodies, func(m *netlink.Message) {
			m.Header.Type, m.Data = netlink.Error, errorNumber(unix.EPERM)[:2]
		})}, 0, "the kernel sent a message that is cut off"},
		{"an overrun", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Type = netlink.Overrun })}, 0, "the kernel answered something that was not asked"},
		{"no operation", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Type = netlink.Noop })}, 0, "the kernel answered something that was not asked"},
		{"the end without a dump", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Header.Flags = 0 })}, 0, "the kernel answered something that was not asked"},
		{"nothing in a message", []kernel{before(bodies, func(m *netlink.Message) { m.Data = nil })}, 0, "the kernel sent 0 bytes for a socket, 72 are the least"},
		{"another type of message", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Type = 18 })}, 0, "the kernel answered something that was not asked"},
		{"the answer to another request", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Sequence++ })}, 0, "the kernel answered something that was not asked"},
		{"no dump", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Flags = 0 })}, 0, "the kernel answered something that was not asked"},
		{"a dump that changed meanwhile", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Flags |= netlink.DumpInterrupted })}, 0, "the sockets changed while the kernel listed them"},
		{"an error at the end", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Data = errorNumber(unix.ENOMEM) })}, 0, "cannot allocate memory"},
		{"an end that says nothing", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Data = nil })}, 0, "the kernel sent a message that is cut off"},
		{"the end of another dump", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Header.Sequence-- })}, 0, "the kernel answered something that was not asked"},
		{"changed up to the end", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Header.Flags |= netlink.DumpInterrupted })}, 0, "the sockets changed while the kernel listed them"},
		{"more announced than sent", []kernel{endsWith(bodies, func(m *netlink.Message) { m.Header.Length = 1 << 31 })}, 0, "the kernel sent a message that is cut off"},
		{"less announced than a header", []kernel{before(bodies, func(m *netlink.Message) { m.Header.Length = 15 })}, 0, "the kernel sent a message that is cut off"},
		{"more in a datagram than can be", []kernel{before(bodies, func(m *netlink.Message) { m.Data = make([]byte, messageBufferSize) })}, 0, "the kernel sent a message that is cut off"},
		{"a short message", []kernel{before(bodies, func(m *netlink.Message) { m.Data = m.Data[:71] })}, 0, "the kernel sent 71 bytes for a socket, 72 are the least"},
		{"a socket of another family", []kernel{before(bodies, func(m *netlink.Message) { m.Data = kernelMessages(t, "tcp6")[0] })}, 0, "the kernel sent a socket of family 10 in state 10, which was not asked for"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			records := answers(test.answers...).records(mustDump(t, "tcp"))
			netlinkSource := source{sourceNetlink, records}
			reading, err := countParts(part{name: "tcp", sources: []source{netlinkSource, netlinkSource, netlinkSource, fallback}})
			if test.message == "" {
				if err != nil || reading.Sockets != test.sockets {
					t.Errorf("got %d sockets, %v, want %d", reading.Sockets, err, test.sockets)
				}
				return
			}
			want := "the tcp sockets cannot be read: netlink: " + test.message + "; gopsutil: no /proc"
			if err == nil || err.Error() != want || reading.Groups != nil {
				t.Errorf("got  %v, %v\nwant %s", reading.Groups, err, want)
			}
		})
	}
}

func TestAKernelThatCannotBeReachedIsAFailure(t *testing.T) {
	diag := &sockDiag{dial: func() (*netlink.Conn, error) { return nil, unix.EAFNOSUPPORT }}
	for range 2 {
		if _, err := (tally{}).of(diag.records(mustDump(t, "udp6"))); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheDeadlineEndsAReadingThatIsStuck(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	conn, err := dialSockDiag(ctx, namespace{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	// Nothing was asked, so no answer comes.
	if _, err := receiver(raw)(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestAStuckReadingEndsInTime(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "util-linux coreutils", "unshare", "mount", "mkfifo")
	plugin := e2e.Plugin(t)
	// In a mount namespace of its own /proc/net/tcp is a pipe that nobody writes.
	script := `mkdir "$1/net" && mkfifo "$1/net/tcp" && mount --bind "$1" /proc && exec "$2" --source gopsutil --timeout 1`
	started := time.Now()
	output, code := outputOf(t, exec.Command("unshare", "--mount", "--fork", "sh", "-c", script, "sh", t.TempDir(), plugin))
	if output != "[UNKNOWN] - Timeout reached\n" || code != 3 {
		t.Errorf("got %d %s", code, output)
	}
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// countsIn returns the numbers of a first line by type and status.
func countsIn(t *testing.T, output string) map[e2e.Group]int {
	t.Helper()
	_, perfdata, _ := strings.Cut(strings.SplitN(output, "\n", 2)[0], "|")
	found := map[e2e.Group]int{}
	for item := range strings.FieldsSeq(perfdata) {
		var number int
		label, value, _ := strings.Cut(item, "=")
		if _, err := fmt.Sscanf(value, "%d;", &number); err != nil {
			t.Fatalf("%s: %v", item, err)
		}
		socketType, status, _ := strings.Cut(label, "_")
		found[e2e.Group{Type: socketType, Status: status}] = number
	}
	return found
}

func TestEverySocketOfTheKernelIsCountedOnce(t *testing.T) {
	const isRoot = "CHECK_NETWORK_CONNECTIONS_TEST_IS_ROOT"
	if os.Geteuid() == 0 {
		t.Setenv(isRoot, "1") // in a user namespace everybody seems to be
	}
	plugin := e2e.Plugin(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	made := e2e.EveryStatus(t)
	for _, test := range []struct {
		name      string
		user      uint32
		arguments []string
		differs   map[e2e.Group]int // what gopsutil shows in place of sockets that look alike
	}{
		{"root, netlink", 0, []string{"--source", "netlink"}, nil},
		{"root, the best source", 0, nil, nil},
		{"nobody, netlink", nobody, []string{"--source", "netlink"}, nil},
		{"nobody, the best source", nobody, nil, nil},
		{"root, gopsutil", 0, []string{"--source", "gopsutil"}, map[e2e.Group]int{
			{Type: "tcp", Status: "LISTEN"}: 3, {Type: "tcp6", Status: "LISTEN"}: 6,
			{Type: "udp", Status: "NONE"}: 3, {Type: "udp6", Status: "NONE"}: 6,
		}},
		{"nobody, gopsutil", nobody, []string{"--source", "gopsutil"}, map[e2e.Group]int{
			{Type: "tcp", Status: "LISTEN"}: 3, {Type: "tcp6", Status: "LISTEN"}: 6,
			{Type: "udp", Status: "NONE"}: 3, {Type: "udp6", Status: "NONE"}: 6,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.user != 0 && os.Getenv(isRoot) == "" {
				e2e.Skip(t, "run the test as root to see what another user sees")
			}
			output, code := runAs(t, test.user, plugin, test.arguments...)
			found := countsIn(t, output)
			if code != 0 || len(found) != len(made) {
				t.Errorf("got %d %s", code, output)
			}
			rows := e2e.NetworkRows(t)
			for group, want := range made {
				if different, is := test.differs[group]; is {
					want = different
				} else if rows[group] != want {
					t.Errorf("%v: /proc/net shows %d, want %d", group, rows[group], want)
				}
				if found[group] != want {
					t.Errorf("%v: got %d, want %d", group, found[group], want)
				}
			}
		})
	}
	t.Run("as ss", func(t *testing.T) { compareWithSS(t, plugin) })
	t.Run("one status at a time", func(t *testing.T) {
		for group, want := range made {
			output, _ := runAs(t, 0, plugin, "--conn-type", group.Type, "--conn-status", group.Status)
			if found := countsIn(t, output); len(found) != 1 || found[group] != want {
				t.Errorf("%v: got %v, want %d", group, found, want)
			}
		}
	})
}

// compareWithSS compares the sums of each type with the rows that ss prints.
func compareWithSS(t *testing.T, plugin string) {
	e2e.Need(t, "iproute2", "ss")
	for socketType, flags := range map[string]string{"tcp": "-4tanH", "tcp6": "-6tanH", "udp": "-4uanH", "udp6": "-6uanH"} {
		want := strings.Count(e2e.Run(t, "ss", flags), "\n")
		output, _ := runAs(t, 0, plugin, "--conn-type", socketType)
		got := 0
		for _, count := range countsIn(t, output) {
			got += count
		}
		if got != want {
			t.Errorf("%s: got %d, ss shows %d", socketType, got, want)
		}
	}
}

// nobody is the id of the user and the group that Debian gives to nobody.
const nobody = 65534

// runAs runs a program as the user, 0 being the user of the tests.
func runAs(t *testing.T, user uint32, path string, arguments ...string) (string, int) {
	t.Helper()
	command := exec.Command(path, arguments...)
	if user != 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	return outputOf(t, command)
}

func init() { helpers["churn"] = churn }

// churn opens and closes connections to an address, a number of them at a time,
// until it is killed or a minute is over.
func churn() {
	address := os.Args[1]
	turnover, _ := strconv.Atoi(os.Args[2])
	for range turnover {
		go func() {
			for {
				connection, err := stdnet.Dial("tcp4", address)
				if err != nil {
					os.Exit(1)
				}
				_ = connection.(*stdnet.TCPConn).SetLinger(0) // no TIME_WAIT, the ports would run out
				_ = connection.Close()
			}
		}()
	}
	time.Sleep(time.Minute)
}

// opened returns how many connections were begun in this network namespace.
func opened(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "Tcp:") {
			rows = append(rows, strings.Fields(line))
		}
	}
	number, err := strconv.Atoi(rows[1][slices.Index(rows[0], "ActiveOpens")])
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// acceptAll accepts connections and closes each as soon as its peer has.
func acceptAll(listener stdnet.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, connection)
			_ = connection.Close()
		}()
	}
}

// mustRead returns what of this host is to be read.
func mustRead(t *testing.T, ctx context.Context, config Config) []part {
	t.Helper()
	host, err := findHost(config)
	if err != nil {
		t.Fatal(err)
	}
	return host.parts(ctx, config)
}

func TestCountsUnderChurnArePossible(t *testing.T) {
	if !e2e.OwnNetwork(t) {
		return
	}
	const fixed, turnover = 300, 64
	listener, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go acceptAll(listener)
	for range fixed {
		connection, err := stdnet.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	e2e.Start(t, helper("churn", listener.Addr().String(), fmt.Sprint(turnover)))

	most := 0
	for range 500 {
		before := opened(t)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		config := Config{Source: sourceNetlink, Netns: netnsSelf, By: defaultGrouping, Selection: Selection{Types: []string{"tcp", "tcp6"}}}
		reading, err := count(mustRead(t, ctx, config), config)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		// Each end of a connection that was open at some time meanwhile counts.
		possible := 2 * (fixed + turnover + opened(t) - before)
		found := map[string]int{}
		for _, group := range reading.Groups {
			found[group.Label] = group.Count
		}
		listening, established := found["tcp_LISTEN"], found["tcp_ESTABLISHED"]
		if listening != 1 || established < 2*fixed || established > possible {
			t.Fatalf("%d listening sockets, and %d established ones, %d to %d are possible", listening, established, 2*fixed, possible)
		}
		most = max(most, established)
	}
	if most == 2*fixed {
		t.Error("no connection came or went meanwhile")
	}
}

func TestVerboseNamesTheSourceAndWhyAnotherWasNotUsed(t *testing.T) {
	output, code := run(t, "--verbose", "--conn-type", "udp")
	lines := strings.Split(output, "\n")
	if code != 0 || len(lines) != 3 || !strings.HasSuffix(lines[1], " ms") || !strings.Contains(lines[1], " sockets counted, read from netlink in ") {
		t.Errorf("got %d %s", code, output)
	}
	reading := Reading{Sockets: 7, Sources: []string{sourceNetlink, sourceGopsutil}}
	for range attempts {
		reading.Failures = append(reading.Failures, failure{"udp6", sourceNetlink, unix.ENOENT})
	}
	got := notes(reading, "1.5 ms", Config{Verbose: true})
	want := "7 sockets counted, read from netlink and gopsutil in 1.5 ms (netlink udp6: no such file or directory)"
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q", got)
	}
}

// kernelRecords yields the recorded sockets of all types, again and again.
func kernelRecords(b *testing.B, sockets int) iter.Seq2[net.ConnectionStat, error] {
	messages := kernelMessages(b, "tcp6")
	d := mustDump(b, "tcp6")
	return func(yield func(net.ConnectionStat, error) bool) {
		for i := range sockets {
			socket, err := d.parse(messages[i%len(messages)])
			if !yield(socket.record, err) {
				return
			}
		}
	}
}

// BenchmarkParseAndCount measures one socket, from the kernel's message to the
// count.
func BenchmarkParseAndCount(b *testing.B) {
	records := kernelRecords(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := (tally{grouping: defaultGrouping}).of(records); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkParse(b *testing.B) {
	messages := kernelMessages(b, "tcp6")
	d := mustDump(b, "tcp6")
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := d.parse(messages[i%len(messages)]); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNothingIsAllocatedForASocket(t *testing.T) {
	const datagrams = 100
	everything := needs{process: true, user: true, localAddress: true, remoteAddress: true}
	for _, test := range []struct {
		name     string
		recorded string
		idle     time.Duration
		tally    tally
	}{
		{"type and status", "tcp", 0, tally{grouping: defaultGrouping}},
		{"owners and addresses", "tcp", 0, tally{grouping: dimensions[:], needs: everything}},
		{"idle connections", "idle", time.Second, tally{grouping: defaultGrouping}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bodies := kernelMessages(t, test.recorded)
			inDatagram := 0
			var start runtime.MemStats
			diag := answers(func(request netlink.Message) ([][]byte, error) {
				header := netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Multi, Sequence: request.Header.Sequence}
				var datagram []byte
				for {
					next := datagramOf(netlink.Message{Header: header, Data: bodies[inDatagram%len(bodies)]})
					if len(datagram)+len(next) >= messageBufferSize {
						break
					}
					datagram = append(datagram, next...)
					inDatagram++
				}
				all := slices.Repeat([][]byte{datagram}, datagrams)
				header.Type = netlink.Done
				all = append(all, datagramOf(netlink.Message{Header: header, Data: make([]byte, 4)}))
				runtime.ReadMemStats(&start)
				return all, nil
			})
			diag.needs = test.tally.needs
			diag.holders = &holders{ctx: t.Context(), pids: map[uint32]int32{}}
			diag.holders.once.Do(func() {})
			for _, body := range bodies {
				diag.holders.pids[binary.NativeEndian.Uint32(body[68:])] = 4711
			}
			d := mustDump(t, "tcp")
			d.idle = test.idle
			counts, err := test.tally.of(diag.records(d))
			var end runtime.MemStats
			runtime.ReadMemStats(&end)
			if err != nil || len(counts.sockets) == 0 {
				t.Fatal(counts, err)
			}
			// Some are for each reading.
			if allocations := int(end.Mallocs - start.Mallocs); allocations > datagrams {
				t.Errorf("%d allocations for %d sockets", allocations, inDatagram*datagrams)
			}
		})
	}
}

func TestTheVerdictDoesNotWaitForTheCulprits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	config, err := parseArguments([]string{"-w", "0"})
	if err != nil {
		t.Fatal(err)
	}
	read, err := partsOf(config)
	if err != nil {
		t.Fatal(err)
	}
	items := judge([]Group{{Type: "tcp", Status: "LISTEN", Text: "tcp LISTEN", Label: "tcp_LISTEN", Count: 1}}, nil, config)
	if lines := details(ctx, read, items, config); len(lines) != 1 || lines[0] != "who holds the sockets cannot be told in time" {
		t.Errorf("got %q", lines)
	}
	for _, test := range []struct {
		name, message string
		read          partsReader
	}{
		{"stuck", "who holds the sockets cannot be told in time", func(context.Context, Config) []part { select {} }},
		{"broken", "who holds the sockets cannot be told: fault of the test", func(context.Context, Config) []part { panic("of the test") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			lines := details(ctx, test.read, items, config)
			if len(lines) != 1 || lines[0] != test.message || ctx.Err() != nil {
				t.Errorf("got %q, %v", lines, ctx.Err())
			}
		})
	}
}

func TestEachPartIsReadAgainAndFromAnotherSource(t *testing.T) {
	netlinkThrice := strings.Repeat(sourceNetlink+" ", attempts)
	if attempts < 2 {
		t.Error("a reading that breaks off is not begun anew")
	}
	for arguments, want := range map[string]string{
		"":                       netlinkThrice + sourceGopsutil + " ",
		"--source netlink":       netlinkThrice,
		"--source gopsutil":      sourceGopsutil + " ",
		"--min-idle 5m":          netlinkThrice,
		"--by netns":             netlinkThrice + sourceGopsutil + " ",
		"--netns /proc/1/ns/net": "",
	} {
		config, err := parseArguments(strings.Fields(arguments))
		if err != nil {
			t.Fatal(err)
		}
		host := host{{}}
		if config.Netns != netnsSelf {
			host[0].paths, want = []string{config.Netns}, netlinkThrice
		}
		parts := host.parts(t.Context(), config)
		if len(parts) == 0 {
			t.Errorf("%s: nothing is read", arguments)
		}
		for _, part := range parts {
			got := ""
			for _, source := range part.sources {
				got += source.name + " "
			}
			if got != want {
				t.Errorf("%s, %s: got %s", arguments, part.name, got)
			}
		}
	}
}

func TestAReadingThatWasStoppedIsNotTakenForWhole(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if connections, err := readGopsutil(ctx, "inet", needs{}, debugLog{}); !errors.Is(err, context.Canceled) || connections != nil {
		t.Errorf("got %d connections, %v", len(connections), err)
	}
}

// The kernel itself says that it has lost a message.
func TestALostMessageIsAnError(t *testing.T) {
	if !e2e.OwnNetwork(t) {
		return
	}
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(socket), "netlink")
	defer file.Close()
	if err := errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the least that there is
		unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}),
	); err != nil {
		t.Fatal(err)
	}
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	control := controlSocket(t)
	for i := range 100 {
		loopback.SetUint16([]uint16{0, unix.IFF_UP}[i%2])
		if err := unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, loopback); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receiver(raw)(); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("got %v", err)
	}
}

// controlSocket returns a socket to ask the kernel by.
func controlSocket(t *testing.T) int {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	return socket
}
