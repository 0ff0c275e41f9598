// Package inside_test compares what the program says with the kernel's own
// files. It is run in the kernels that contrib/kernels boots, some of which
// lack something, and in that of this machine.
package inside_test

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// withoutNetlink says that the kernel has no inet_diag, so that less can be
// known: what is needed then is refused, and never a wrong number.
var withoutNetlink = os.Getenv("KERNEL_WITHOUT") == "netlink"

const (
	ok      = 0
	unknown = 3
	nobody  = 65534
)

// isRoot says that the test may become any user: more than to seem to be root in
// a user namespace.
var isRoot = os.Geteuid() == 0 && readable("/proc/self/uid_map", "4294967295")

func readable(path, content string) bool {
	found, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(found), content)
}

// users are those to ask as: the one of the test, and one without rights.
func users() map[string]*syscall.SysProcAttr {
	asked := map[string]*syscall.SysProcAttr{"the user of the test": nil}
	if isRoot {
		asked["nobody"] = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return asked
}

// ask runs the program, and returns its performance data by label, its exit
// code and its output.
func ask(t *testing.T, user *syscall.SysProcAttr, arguments string) (counts map[string]int, code int, output string) {
	t.Helper()
	command := exec.Command(e2e.Plugin(t), strings.Fields(arguments)...)
	command.SysProcAttr = user
	printed, err := command.Output()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	counts = map[string]int{}
	first, _, _ := strings.Cut(string(printed), "\n")
	_, data, _ := strings.Cut(first, "|")
	for _, item := range strings.Fields(data) {
		label, value, _ := strings.Cut(item, "=")
		value, _, _ = strings.Cut(value, ";")
		if counts[label], err = strconv.Atoi(value); err != nil {
			t.Fatalf("%s: %q: %v", arguments, printed, err)
		}
	}
	return counts, command.ProcessState.ExitCode(), string(printed)
}

func total[Key comparable](counts map[Key]int) (sum int) {
	for _, count := range counts {
		sum += count
	}
	return sum
}

// sockets opens some of each type that this kernel has, in every status where
// it can tell those apart that look alike.
func sockets(t *testing.T) {
	t.Helper()
	if withoutNetlink {
		connections(t)
	} else {
		e2e.EveryStatus(t)
	}
}

const held = 3

// connections opens a listener, connections and a socket of UDP on each
// loopback address.
func connections(t *testing.T) (families int) {
	t.Helper()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		packets, err := net.ListenPacket("udp", address)
		if err != nil && address == "[::1]:0" {
			break // IPv6 is off
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = packets.Close() })
		e2e.Connect(t, address, held)
		families++
	}
	return families
}

func TestCountsAreThoseOfTheKernelsFiles(t *testing.T) {
	e2e.Plugin(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	sockets(t)
	for name, user := range users() {
		for _, question := range []struct {
			arguments string
			label     func(e2e.Group) string // of a group in the performance data; "" where it is not counted
		}{
			{"", func(g e2e.Group) string { return g.Type + "_" + g.Status }},
			{"--by type", func(g e2e.Group) string { return g.Type }},
			{"--by status", func(g e2e.Group) string { return g.Status }},
			{"--by user", nil},
			{"--by process", nil},
			{"--netns /proc/self/ns/net", nil},
			{"--conn-type tcp6,udp6", only(func(g e2e.Group) bool { return strings.HasSuffix(g.Type, "6") })},
			{"--conn-type tcp --conn-status close_wait,established,listen", only(func(g e2e.Group) bool {
				return g.Type == "tcp" && strings.Contains("CLOSE_WAIT ESTABLISHED LISTEN", g.Status)
			})},
			{"--conn-type udp", only(func(g e2e.Group) bool { return g.Type == "udp" })},
		} {
			counts, code, output := ask(t, user, question.arguments+" --top 0")
			rows := e2e.NetworkRows(t)
			switch {
			case code != ok:
				t.Errorf("%s, %s: got %d %s", name, question.arguments, code, output)
			case question.label == nil && total(counts) != total(rows):
				t.Errorf("%s, %s: got %d in %s, the kernel shows %d", name, question.arguments, total(counts), output, total(rows))
			case question.label != nil && !maps.Equal(counts, labelled(rows, question.label)):
				t.Errorf("%s, %s: got %s, the kernel shows %v", name, question.arguments, output, rows)
			}
		}
	}
}

// only labels the groups that are wanted as --by type,status does.
func only(wanted func(e2e.Group) bool) func(e2e.Group) string {
	return func(group e2e.Group) string {
		if !wanted(group) {
			return ""
		}
		return group.Type + "_" + group.Status
	}
}

func labelled(rows map[e2e.Group]int, label func(e2e.Group) string) map[string]int {
	counts := map[string]int{}
	for group, count := range rows {
		if name := label(group); name != "" {
			counts[name] += count
		}
	}
	return counts
}

func TestHoldersAreNamedToWhoMaySeeThem(t *testing.T) {
	e2e.Plugin(t)
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if !e2e.OwnNetwork(t) {
		return
	}
	connections(t)
	for name, user := range users() {
		holder := strings.TrimSpace(string(self))
		if user != nil {
			holder = "?"
		}
		want := map[string]int{holder: total(e2e.NetworkRows(t))}
		if counts, code, output := ask(t, user, "--by process"); code != ok || !maps.Equal(counts, want) {
			t.Errorf("%s: got %d %s, want %v", name, code, output, want)
		}
	}
}

// The time without traffic is known by netlink only, in whole milliseconds.
func TestWhatNeedsNetlinkIsRefusedWithoutIt(t *testing.T) {
	e2e.Plugin(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	families := connections(t)
	time.Sleep(10 * time.Millisecond)
	for arguments, want := range map[string]int{
		"--source netlink": total(e2e.NetworkRows(t)),
		"--min-idle 1ms":   2 * held * families, // both ends of each
		"--min-idle 10h":   0,
	} {
		for name, user := range users() {
			counts, code, output := ask(t, user, arguments)
			if withoutNetlink && (code != unknown || len(counts) != 0) {
				t.Errorf("without netlink, %s, %s: got %d %s", name, arguments, code, output)
			}
			if !withoutNetlink && (code != ok || total(counts) != want) {
				t.Errorf("%s, %s: got %d %s, want %d", name, arguments, code, output, want)
			}
		}
	}
}
