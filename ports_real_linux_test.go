package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// manyPorts is how many ports the range has in these tests.
const manyPorts = 100

// narrow makes the range of ephemeral ports small, in the network namespace of
// the test.
func narrow(t *testing.T, reuse string) {
	t.Helper()
	for name, value := range map[string]string{"ip_local_port_range": fmt.Sprintf("40000 %d", 40000+manyPorts-1), "tcp_tw_reuse": reuse} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			e2e.Skip(t, "the test narrows the range of ports in its own network namespace: "+err.Error())
		}
	}
}

// newSocket returns a socket, IPv6 for an address in brackets, that is closed when
// the test ends, and the address for it.
func newSocket(t *testing.T, kind int, address string) (fd int, to unix.Sockaddr) {
	t.Helper()
	end := netip.MustParseAddrPort(address)
	family := unix.AF_INET6
	if end.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(end.Port()), Addr: end.Addr().As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(end.Port()), Addr: end.Addr().As16()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // at once, for the port to be free again
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(fd)
	})
	return fd, to
}

// connects opens connections from one of the kernel's own ports each, and returns
// how many there are before it has none left.
func connects(t *testing.T, number int, address string) int {
	t.Helper()
	for i := range number {
		fd, to := newSocket(t, unix.SOCK_STREAM, address)
		if err := unix.Connect(fd, to); errors.Is(err, unix.EADDRNOTAVAIL) {
			return i
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return number
}

// binds binds sockets, to port 0 or to others from there on, until there are none
// left. They listen or do nothing.
func binds(t *testing.T, kind, number int, address string, isListening bool) int {
	t.Helper()
	for i := range number {
		fd, to := newSocket(t, kind, address)
		if at := to.(*unix.SockaddrInet4); at.Port > 0 {
			at.Port += i
		}
		if err := unix.Bind(fd, to); errors.Is(err, unix.EADDRINUSE) {
			return i
		} else if err != nil {
			t.Fatal(err)
		}
		if isListening {
			if err := unix.Listen(fd, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	return number
}

// expectPorts compares what the program says of the ports, to everybody.
func expectPorts(t *testing.T, plugin, want string) {
	t.Helper()
	output, code := runBy(t, nobody, plugin, "--conn-type", "udp", "--conn-status", "none", "--local-port", "1", "--no-details", "--no-perfdata", "-c", "ephemeral=100")
	if output != "[OK] - ephemeral ports: "+want+"\n" || code != 0 {
		t.Errorf("got %d %s\nwant %s", code, output, want)
	}
}

// kernelIsFrom tells whether this is Linux of that version, or a later one.
func kernelIsFrom(t *testing.T, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(unix.ByteSliceToString(name.Release[:]), ".")
	first, _ := strconv.Atoi(parts[0])
	second, _ := strconv.Atoi(parts[1])
	return first > major || first == major && second >= minor
}

func TestShareOfPortsIsWhatConnectHasLost(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	narrow(t, "0")
	startHelper(t, helper("server", "database", "[::]:5432", "keep"))
	for _, test := range []struct{ address, peer string }{
		{"127.0.0.1:5432", "127.0.0.1:5432"}, {"[::1]:5432", "[::1]:5432"}, {"[::ffff:127.0.0.9]:5432", "127.0.0.9:5432"},
	} {
		t.Run(test.address, func(t *testing.T) {
			opened := 0
			for _, percent := range []int{50, 80, 95, 100} {
				opened += connects(t, percent-opened, test.address)
				expectPorts(t, plugin, fmt.Sprintf("%d%% of 100 to %s", percent, test.peer))
			}
			if more := connects(t, 1, test.address); opened != manyPorts || more > 0 {
				t.Errorf("the kernel had %d ports, and %d more", opened, more)
			}
		})
	}
	t.Run("of both kinds", func(t *testing.T) {
		four, mapped := connects(t, 40, "127.0.0.8:5432"), connects(t, manyPorts, "[::ffff:127.0.0.8]:5432")
		if four+mapped != manyPorts {
			t.Errorf("the kernel had %d and %d ports", four, mapped)
		}
		expectPorts(t, plugin, "100% of 100 to 127.0.0.8:5432")
	})
}

func TestPortsThatAreBoundAreLostForEveryPeer(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	narrow(t, "0")
	startHelper(t, helper("server", "database", "127.0.0.1:5432", "keep"))
	binds(t, unix.SOCK_STREAM, 40, "127.0.0.1:40000", true)
	expectPorts(t, plugin, "40% of 100 for any peer")
	held := 0
	if kernelIsFrom(t, 6, 8) { // earlier ones do not list those that do nothing
		held = binds(t, unix.SOCK_STREAM, 20, "127.0.0.1:40040", false)
		expectPorts(t, plugin, "60% of 100 for any peer")
	}
	if left := connects(t, manyPorts, "127.0.0.1:5432"); left != 60-held {
		t.Errorf("the kernel had %d ports left", left)
	}
	expectPorts(t, plugin, "100% of 100 to 127.0.0.1:5432")
}

func TestDevicesHavePortsOfTheirOwn(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Need(t, "iproute2", "ip")
	narrow(t, "0")
	for _, arguments := range []string{
		"link add a0 type veth peer name b0", "link add a1 type veth peer name b1", "addr add 10.9.0.1/24 dev a0", "addr add 10.9.0.1/24 dev a1",
		"link set a0 up", "link set b0 up", "link set a1 up", "link set b1 up",
		"neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev a0", "neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev a1",
	} {
		e2e.Run(t, "ip", strings.Fields(arguments)...)
	}
	for _, test := range []struct {
		device, want string
		connections  int
	}{{"a0", "60% of 100 to 10.9.0.2:80", 60}, {"a1", "100% of 100 to 10.9.0.2:80", manyPorts}} {
		got := 0
		for ; got <= test.connections; got++ {
			fd, to := newSocket(t, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, "10.9.0.2:80")
			if err := unix.BindToDevice(fd, test.device); err != nil {
				t.Fatal(err)
			}
			if got == test.connections && got < manyPorts {
				break
			}
			if err := unix.Connect(fd, to); errors.Is(err, unix.EADDRNOTAVAIL) {
				break
			} else if err != unix.EINPROGRESS {
				t.Fatal(err)
			}
		}
		if got != test.connections {
			t.Errorf("%s: the kernel had %d ports", test.device, got)
		}
		expectPorts(t, plugin, test.want)
	}
}

func TestPortsOfDatagramsAreLostForAll(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	narrow(t, "0")
	binds(t, unix.SOCK_DGRAM, manyPorts/2, "127.0.0.1:0", false)
	expectPorts(t, plugin, "50% of 100 for UDP")
	if left := binds(t, unix.SOCK_DGRAM, manyPorts, "127.0.0.1:0", false); left != manyPorts/2 {
		t.Errorf("bind() had %d ports left", left)
	}
	expectPorts(t, plugin, "100% of 100 for UDP")
	fd, to := newSocket(t, unix.SOCK_DGRAM, "127.0.0.1:53")
	if err := unix.Connect(fd, to); err == nil {
		t.Error("connect() had a port left")
	}
}

// What connect() takes again is not lost: after a second with net.ipv4.tcp_tw_reuse.
func TestPortsInTimeWaitAreLostWhereTheKernelKeepsThem(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	narrow(t, "0")
	startHelper(t, helper("server", "web", "127.0.0.1:5432", "polite"))
	keepInTimeWait(t, "127.0.0.1:5432", manyPorts)
	began := time.Now()
	wantsAll := func() bool { return e2e.NetworkRows(t)[e2e.Group{Type: "tcp", Status: "TIME_WAIT"}] == manyPorts }
	expectPorts(t, plugin, "100% of 100 to 127.0.0.1:5432")
	if got := connects(t, 1, "127.0.0.1:5432"); got > 0 {
		t.Error("the kernel had a port left")
	}
	time.Sleep(1200*time.Millisecond - time.Since(began))
	for _, reuse := range []string{"1", "2"} {
		narrow(t, reuse)
		expectPorts(t, plugin, "0% of 100")
	}
	if got := connects(t, 30, "127.0.0.1:5432"); got != 30 {
		t.Errorf("connect() took %d ports again", got)
	}
	expectPorts(t, plugin, "30% of 100 to 127.0.0.1:5432")
	narrow(t, "0")
	if wantsAll() {
		t.Error("no connection took the place of an earlier one")
	}
	expectPorts(t, plugin, "100% of 100 to 127.0.0.1:5432")
}

// keepInTimeWait makes connections to the address and closes them, until so many are
// in TIME_WAIT there: the kernel closes some early now and then, and all for which
// there is no bucket. It returns how many there are.
func keepInTimeWait(t *testing.T, address string, number int) (kept int) {
	t.Helper()
	for kept < number {
		startHelper(t, helper("client", "visitor", address, fmt.Sprint(number-kept), "close"))
		e2e.WaitFor(t, time.Minute, "every connection to be closed", func() bool {
			rows := e2e.NetworkRows(t)
			kept = rows[e2e.Group{Type: "tcp", Status: "TIME_WAIT"}]
			return len(rows) == 2 && kept > 0 // beside the listener
		})
	}
	return kept
}

func TestBucketsForTimeWaitThatAreMadeFew(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_max_tw_buckets", []byte("40"), 0); err != nil {
		e2e.Skip(t, "the kernel has one table for all network namespaces (before Linux 6.0): "+err.Error())
	}
	_, address := startHelper(t, helper("server", "web", "127.0.0.1:0", "polite"))
	for _, number := range []int{10, 40} {
		// There may be one more than allowed: two processors look for room at the same time.
		used := min(keepInTimeWait(t, address, number), 40)
		want := fmt.Sprintf("TIME WAIT buckets: %d%% of 40", used*100/40)
		for _, arguments := range []string{"-w timewait=100", "-w timewait=100,limits=100"} {
			output, _ := runBy(t, nobody, plugin, append(strings.Fields(arguments), "--conn-type", "udp", "--no-perfdata")...)
			if text := textOf(output); text != want && !strings.HasPrefix(text, want+", limits: ") {
				t.Errorf("%s: got %s\nwant %s", arguments, output, want)
			}
		}
	}
}

// All limits of this machine can be told to everybody.
func TestLimitsNeedNoRights(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	listens(t, "127.0.0.1:5432", 100, false)
	connects(t, 3, "127.0.0.1:5432")
	var want []string
	for _, limited := range []struct{ label, file string }{
		{limitEphemeral.label, "net/ipv4/ip_local_port_range"}, {limitBacklog.label, ""}, {limitConntrack.label, "net/netfilter/nf_conntrack_count"},
		{limitOrphans.label, "net/ipv4/tcp_max_orphans"}, {limitMemory.label, "net/ipv4/tcp_mem"}, {limitFiles.label, "fs/file-nr"},
	} {
		if _, err := os.Stat("/proc/sys/" + limited.file); err == nil { // some are only in the first network namespace
			want = append(want, limited.label)
		}
	}
	for _, user := range []uint32{0, nobody} {
		output, code := runBy(t, user, plugin, "-w", "limits=100", "--conn-type", "udp")
		var got []string
		for value := range strings.FieldsSeq(valuesOf(output)) {
			label, _, _ := strings.Cut(value, "=")
			got = append(got, label)
		}
		if !slices.Equal(got, want) || code != 0 || !strings.HasPrefix(textOf(output), "limits: ") {
			t.Errorf("user %d: got %d %s\nwant %s", user, code, output, want)
		}
	}
}
