package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNetwork is the environment variable that tells a test binary that it was
// started again inside a network namespace of its own.
const ownNetwork = "E2E_OWN_NETWORK"

// OwnNetwork runs the calling test once more in a child process that has an
// empty network namespace with the loopback interface up, so that every socket
// in it is one that the test opened. It returns true in that child, and false
// in the parent once the child has ended and its verdict has been taken over:
//
//	if !e2e.OwnNetwork(t) {
//		return
//	}
//
// A test that needs the program calls Plugin before OwnNetwork: where the child
// runs, a build could fetch nothing. Without root it takes a user namespace, and
// skips where that is forbidden.
func OwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNetwork) != "" {
		loopbackUp(t)
		return true
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^") + "$"
	limit := time.Duration(0) // none
	if deadline, isSet := t.Deadline(); isSet {
		limit = max(time.Until(deadline)-time.Second, time.Second)
	}
	child := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.count=1", "-test.timeout="+limit.String())
	child.Env = append(os.Environ(), ownNetwork+"=1")
	if build.path != "" {
		child.Env = append(child.Env, builtPlugin+"="+build.path)
	}
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var output bytes.Buffer
	child.Stdout, child.Stderr = &output, &output

	// The child is to die with this process. The kernel ties it to the thread
	// that started it, which therefore has to outlive it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := child.Start(); err != nil {
		Skip(t, fmt.Sprintf("no network namespace of the test's own, run it as root: %v", err))
	}
	err := child.Wait()
	switch {
	case err != nil:
		t.Fatalf("in its own network namespace: %v\n%s", err, &output)
	case strings.Contains(output.String(), "--- SKIP: "+t.Name()+" "):
		t.Skipf("in its own network namespace:\n%s", &output)
	case !strings.Contains(output.String(), "--- PASS: "+t.Name()+" "):
		t.Fatalf("did not run in its own network namespace:\n%s", &output)
	}
	t.Logf("in its own network namespace:\n%s", &output)
	return false
}

func loopbackUp(t testing.TB) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		t.Fatalf("bringing the loopback interface up: %v", err)
	}
}

// Group is what sockets are counted by, spelled as in performance data:
// "tcp6" and "CLOSE_WAIT". UDP sockets have the status "NONE".
type Group struct{ Type, Status string }

// EveryStatus opens sockets in every status that Linux shows, and returns how
// many there are of each group once the kernel has them all:
//
//   - TCP listeners, one of them eight times on one port (SO_REUSEPORT),
//   - TCP connections in all statuses, those without a process included,
//   - UDP sockets, bound, connected, and two bound alike,
//
// all of it over IPv4 and, unless IPv6 is off, over IPv6 and IPv4-mapped
// addresses. It is meant for a network namespace without other sockets (see
// OwnNetwork). After a minute the first ones reach the end of their time
// (TIME_WAIT, FIN_WAIT2). All are closed when the test ends.
func EveryStatus(t testing.TB) map[Group]int {
	t.Helper()
	made, open := map[Group]int{}, map[int]bool{}
	t.Cleanup(func() {
		for fd := range open {
			_ = unix.Close(fd)
		}
	})
	networks := []network{{t, made, open, "", netip.MustParseAddr("127.0.0.1")}}
	if _, err := os.Stat("/proc/thread-self/net/tcp6"); err == nil {
		networks = append(networks,
			network{t, made, open, "6", netip.MustParseAddr("::1")},
			network{t, made, open, "6", netip.MustParseAddr("::ffff:127.0.0.1")})
	}
	for _, n := range networks {
		n.everyTCP()
		n.everyUDP()
	}
	var found map[Group]int
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if found = NetworkRows(t); maps.Equal(found, made) {
			return made
		}
	}
	t.Fatalf("the kernel shows other sockets than were made\nmade:  %v\nshown: %v", made, found)
	return nil
}

// NetworkRows counts the rows of /proc/net/tcp, tcp6, udp and udp6 in the
// network namespace of the calling thread. It shares no code with the program.
func NetworkRows(t testing.TB) map[Group]int {
	t.Helper()
	rows := map[Group]int{}
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6"} {
		file, err := os.Open("/proc/thread-self/net/" + kind)
		if os.IsNotExist(err) {
			continue // IPv6 is off
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[0] == "sl" {
				continue
			}
			status := "NONE"
			if strings.HasPrefix(kind, "tcp") {
				if status = procStatus[fields[3]]; status == "" {
					t.Fatalf("/proc/net/%s has a status nobody knows: %s", kind, lines.Text())
				}
			}
			rows[Group{kind, status}]++
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	return rows
}

// procStatus has the statuses as /proc/net/tcp shows them, from the kernel's
// net/tcp_states.h.
var procStatus = map[string]string{
	"01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV", "04": "FIN_WAIT1",
	"05": "FIN_WAIT2", "06": "TIME_WAIT", "07": "CLOSE", "08": "CLOSE_WAIT",
	"09": "LAST_ACK", "0A": "LISTEN", "0B": "CLOSING",
}

// network makes sockets on one loopback address and notes what it has made.
type network struct {
	t       testing.TB
	made    map[Group]int
	open    map[int]bool // the sockets still to close
	suffix  string       // what the types end in: "6" for IPv6
	address netip.Addr
}

func (n network) everyTCP() {
	listener := n.listen()
	n.count("tcp", "LISTEN")
	port := n.port(listener)

	twin := n.socket(unix.SOCK_STREAM)
	n.reusePort(twin)
	n.bind(twin, 0)
	n.check("listen", unix.Listen(twin, 8))
	n.count("tcp", "LISTEN")
	for range 7 {
		another := n.socket(unix.SOCK_STREAM)
		n.reusePort(another)
		n.bind(another, n.port(twin))
		n.check("listen", unix.Listen(another, 8))
		n.count("tcp", "LISTEN")
	}

	// Neither listening nor connected: no tool shows it, and none should.
	n.bind(n.socket(unix.SOCK_STREAM), 0)

	n.pair(listener)
	n.count("tcp", "ESTABLISHED", "ESTABLISHED")

	// The client has said goodbye, the server has not answered it. Who closes
	// instead of shutting down leaves a connection without a process.
	client, _ := n.pair(listener)
	n.shutdown(client)
	n.count("tcp", "FIN_WAIT2", "CLOSE_WAIT")

	client, server := n.pair(listener)
	n.close(client)
	n.await(server, unix.BPF_TCP_CLOSE_WAIT)
	n.count("tcp", "FIN_WAIT2", "CLOSE_WAIT")

	client, server = n.pair(listener)
	n.shutdown(client)
	n.await(server, unix.BPF_TCP_CLOSE_WAIT)
	n.close(server)
	n.count("tcp", "TIME_WAIT")

	// A server that hears nothing never acknowledges the goodbye.
	client, server = n.pair(listener)
	n.deafen(server)
	n.shutdown(client)
	n.count("tcp", "FIN_WAIT1", "ESTABLISHED")

	client, server = n.pair(listener)
	n.deafen(server)
	n.close(client)
	n.count("tcp", "FIN_WAIT1", "ESTABLISHED")

	for _, leave := range []func(int){n.shutdown, n.close} {
		client, server = n.pair(listener)
		n.shutdown(client)
		n.await(server, unix.BPF_TCP_CLOSE_WAIT)
		n.await(client, unix.BPF_TCP_FIN_WAIT2)
		n.deafen(client)
		leave(server)
		n.count("tcp", "FIN_WAIT2", "LAST_ACK")
	}

	// Both say goodbye, then one hears the other's, which is sent again and
	// again, but not that its own has arrived.
	client, server = n.pair(listener)
	n.deafen(client)
	n.deafen(server)
	n.shutdown(client)
	n.shutdown(server)
	n.hear(client)
	n.await(client, unix.BPF_TCP_CLOSING)
	n.count("tcp", "CLOSING", "FIN_WAIT1")

	deaf := n.listen()
	n.deafen(deaf)
	n.call(n.socket(unix.SOCK_STREAM), n.port(deaf))
	n.count("tcp", "LISTEN", "SYN_SENT")

	client = n.socket(unix.SOCK_STREAM)
	n.deafen(client)
	n.call(client, port)
	n.count("tcp", "SYN_SENT", "SYN_RECV")
}

func (n network) everyUDP() {
	bound := n.socket(unix.SOCK_DGRAM)
	n.bind(bound, 0)
	n.count("udp", "NONE")

	n.connect(n.socket(unix.SOCK_DGRAM), n.port(bound))
	n.count("udp", "NONE")

	twin := n.socket(unix.SOCK_DGRAM)
	n.reusePort(twin)
	n.bind(twin, 0)
	other := n.socket(unix.SOCK_DGRAM)
	n.reusePort(other)
	n.bind(other, n.port(twin))
	n.count("udp", "NONE", "NONE")
}

// count notes that sockets were made, one in each status.
func (n network) count(kind string, statuses ...string) {
	for _, status := range statuses {
		n.made[Group{kind + n.suffix, status}]++
	}
}

func (n network) check(what string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s on %s: %v", what, n.address, err)
	}
}

func (n network) socket(kind int) int {
	n.t.Helper()
	family := unix.AF_INET
	if n.suffix == "6" {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	n.check("socket", err)
	return n.own(fd)
}

// own has the socket closed at the end, unless close does it before.
func (n network) own(fd int) int {
	n.open[fd] = true
	return fd
}

func (n network) close(fd int) {
	n.t.Helper()
	delete(n.open, fd)
	n.check("close", unix.Close(fd))
}

func (n network) sockaddr(port int) unix.Sockaddr {
	if n.suffix == "6" {
		return &unix.SockaddrInet6{Addr: n.address.As16(), Port: port}
	}
	return &unix.SockaddrInet4{Addr: n.address.As4(), Port: port}
}

func (n network) bind(fd, port int) {
	n.t.Helper()
	n.check("bind", unix.Bind(fd, n.sockaddr(port)))
}

func (n network) reusePort(fd int) {
	n.t.Helper()
	n.check("SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

func (n network) listen() int {
	n.t.Helper()
	fd := n.socket(unix.SOCK_STREAM)
	n.bind(fd, 0)
	n.check("listen", unix.Listen(fd, 64))
	return fd
}

func (n network) port(fd int) int {
	n.t.Helper()
	address, err := unix.Getsockname(fd)
	n.check("getsockname", err)
	if address, ok := address.(*unix.SockaddrInet6); ok {
		return address.Port
	}
	return address.(*unix.SockaddrInet4).Port
}

func (n network) connect(fd, port int) {
	n.t.Helper()
	n.check("connect", unix.Connect(fd, n.sockaddr(port)))
}

// call connects without waiting for an answer.
func (n network) call(fd, port int) {
	n.t.Helper()
	n.check("not to wait", unix.SetNonblock(fd, true))
	if err := unix.Connect(fd, n.sockaddr(port)); err != unix.EINPROGRESS {
		n.t.Fatalf("connect on %s: %v, want %v", n.address, err, unix.EINPROGRESS)
	}
}

// pair returns both ends of a new connection.
func (n network) pair(listener int) (client, server int) {
	n.t.Helper()
	client = n.socket(unix.SOCK_STREAM)
	n.connect(client, n.port(listener))
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	n.check("accept", err)
	return client, n.own(server)
}

// shutdown says goodbye and keeps the socket.
func (n network) shutdown(fd int) {
	n.t.Helper()
	n.check("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
}

// deafen makes the socket lose every packet that arrives for it.
func (n network) deafen(fd int) {
	n.t.Helper()
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	n.check("SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop}))
}

// hear takes back deafen.
func (n network) hear(fd int) {
	n.t.Helper()
	n.check("SO_DETACH_FILTER", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
}

// await waits until the connection has the status.
func (n network) await(fd int, status uint8) {
	n.t.Helper()
	var last uint8
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		n.check("TCP_INFO", err)
		if last = info.State; last == status {
			return
		}
	}
	n.t.Fatalf("connection on %s has status %d, want %d", n.address, last, status)
}
