//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// TestMain lets the test binary take the place of bench, for itself and for
// the tests that need bench as a process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		main()
		return
	}
	// With the race detector every process would wait a second before it ends.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// inNamespace moves the test to a network namespace where no other sockets
// are. It holds for the test's own goroutine, not for subtests.
func inNamespace(t *testing.T) {
	t.Helper()
	e2e.NeedRoot(t)
	if err := ownNamespace(); err != nil {
		e2e.Skip(t, err.Error())
	}
}

// A census is what /proc/net/tcp and tcp6 show.
type census struct {
	sockets, ipv6, peers, ports                        int
	established, timeWait, closeWait, on443, ephemeral int
}

// takeCensus reads the sockets of the thread's network namespace.
func takeCensus(t *testing.T) (c census) {
	t.Helper()
	addresses, ports := make(map[string]bool), make(map[string]bool)
	for _, name := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range strings.Split(strings.TrimSpace(string(content)), "\n")[1:] {
			fields := strings.Fields(row)
			_, local, _ := strings.Cut(fields[1], ":")
			remote, _, _ := strings.Cut(fields[2], ":")
			port, err := strconv.ParseUint(local, 16, 16)
			if err != nil {
				t.Fatalf("%s: %q", name, row)
			}
			addresses[remote], ports[local] = true, true
			for _, counted := range []struct {
				number *int
				so     bool
			}{
				{&c.sockets, true}, {&c.ipv6, name == "tcp6"},
				{&c.established, fields[3] == "01"}, {&c.timeWait, fields[3] == "06"}, {&c.closeWait, fields[3] == "08"},
				{&c.on443, port == serverPort}, {&c.ephemeral, port >= firstEphemeral},
			} {
				if counted.so {
					*counted.number++
				}
			}
		}
	}
	c.peers, c.ports = len(addresses), len(ports)
	return c
}

func TestLoadMakesTheSocketsAskedForAndLeavesNothing(t *testing.T) {
	for _, test := range []struct {
		shape     shape
		processes int
		want      census
	}{
		{shape{load: load{established, 0}, peers: 1}, 0, census{}},
		{shape{load: load{established, 2}, processes: 1, peers: 1}, 1, census{sockets: 2, established: 2, peers: 1}},
		{shape{load: load{established, 202}, processes: 3, peers: 1}, 3, census{sockets: 202, established: 202, peers: 1}},
		{shape{load: load{established, 1000}, processes: 7, peers: 10}, 7, census{sockets: 1000, ipv6: 500, established: 1000, peers: 10}},
		{shape{load: load{established, 2000}, peers: 400}, 10, census{sockets: 2000, ipv6: 1000, established: 2000, peers: 400}},
		{shape{load: load{proxy, 2000}, peers: peers}, 10, census{sockets: 2000, ipv6: 1000, timeWait: 2000, peers: peers, ephemeral: 2000}},
		{shape{load: load{leak, 2000}, peers: peers}, 10, census{sockets: 2000, ipv6: 1000, closeWait: 2000, peers: peers, on443: 200}},
		{shape{load: load{outgoing, 2000}, peers: peers}, 10, census{sockets: 2000, ipv6: 1000, established: 2000, peers: peers, on443: 1000, ephemeral: 1000}},
		{shape{load: load{incoming, 2000}, peers: peers}, 10, census{sockets: 2000, ipv6: 1000, established: 2000, peers: peers, on443: 2000}},
		{shape{load: load{matches, 2000}, peers: peers}, 20, census{sockets: 2000, ipv6: 1000, established: 2000, peers: peers, on443: 4, ephemeral: 1996}},
		{shape{load: load{namespaces, 3}, peers: peers}, 3, census{}},
	} {
		// What is left in TIME_WAIT stays behind in the namespace before.
		inNamespace(t)
		if err := keepTimeWait(); err != nil {
			e2e.Skip(t, err.Error())
		}
		test.shape.limit = time.Minute
		held, err := startLoad(test.shape)
		if err != nil {
			t.Fatalf("%+v: %v", test.shape, err)
		}
		got, processes := takeCensus(t), len(held.holders)
		if err := held.stop(); err != nil {
			t.Errorf("%+v: stop: %v", test.shape, err)
		}
		// Which ephemeral ports the kernel chooses is its own affair.
		got.ports = 0
		if test.shape.kind == established {
			got.ephemeral = 0
		}
		if got != test.want || processes != test.processes {
			t.Errorf("%+v: %+v in %d processes, want %+v in %d", test.shape, got, processes, test.want, test.processes)
		}
		if left := takeCensus(t); left.sockets != test.want.timeWait {
			t.Errorf("%+v leaves %+v", test.shape, left)
		}
	}
}

func TestOutgoingConnectionsUse28000Ports(t *testing.T) {
	inNamespace(t)
	held, err := startLoad(shape{load: load{outgoing, 58_000}, peers: peers, limit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if got := takeCensus(t); got.ephemeral != 29_000 || got.on443 != 29_000 || got.ports != 28_000+1 {
		t.Errorf("%+v", got)
	}
	if err := held.stop(); err != nil {
		t.Error(err)
	}
}

func TestNamespacesHaveOneSocketEach(t *testing.T) {
	inNamespace(t)
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	held, err := startLoad(shape{load: load{namespaces, 3}, peers: peers, limit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	seen := []string{own}
	for _, h := range held.holders {
		folder := "/proc/" + strconv.Itoa(h.command.Process.Pid)
		name, err := os.Readlink(folder + "/ns/net")
		if err != nil || slices.Contains(seen, name) {
			t.Errorf("namespace %q, %v", name, err)
		}
		seen = append(seen, name)
		content, err := os.ReadFile(folder + "/net/tcp")
		if rows := strings.Count(string(content), "\n"); err != nil || rows != 2 {
			t.Errorf("%d rows, %v", rows, err)
		}
	}
	if err := held.stop(); err != nil {
		t.Error(err)
	}
}

func TestLoadRefusesWhatCannotBe(t *testing.T) {
	for _, s := range []shape{
		{load: load{established, -2}, peers: 1},
		{load: load{established, 3}, peers: 1},
		{load: load{established, maxSockets + 2}, peers: 1},
		{load: load{established, 10}, peers: 0},
		{load: load{established, 10}, peers: 1<<16 + 1},
		{load: load{established, 10}, peers: 1, processes: -1},
		{load: load{namespaces, maxNamespaces + 1}, peers: 1},
		{load: load{"estblished", 10}, peers: 1},
	} {
		if _, err := startLoad(s); err == nil {
			t.Errorf("%+v was not refused", s)
		}
	}
}

func TestLoadsAreReadFromFlags(t *testing.T) {
	for _, test := range []struct {
		names, sizes string
		want         []load
		err          string
	}{
		{"established", "0, 100,100", []load{{established, 0}, {established, 100}}, ""},
		{"proxy,established=20", "0", []load{{established, 20}, {proxy, 50_000}}, ""},
		{"proxy=10,leak, proxy=5", "0", []load{{proxy, 5}, {proxy, 10}, {leak, 100_000}}, ""},
		{"prxy", "0", nil, `--loads: there is no load "prxy"`},
		{"prxy=1", "0", nil, `there is no load "prxy"`},
		{"proxy=many", "0", nil, `--loads: "many" is not a number`},
		{"proxy", "few", nil, `--sockets: "few" is not a number`},
		{"matches=7", "0", nil, "7 sockets: must be a number up to 1000000, and even where both ends count"},
	} {
		got, err := parseLoads(test.names, test.sizes)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if !slices.Equal(got, test.want) || said != test.err {
			t.Errorf("%s, %s: %v, %q", test.names, test.sizes, got, said)
		}
	}
	if got, err := parseLoads(allLoads(), "0"); err != nil || len(got) != len(kinds()) {
		t.Errorf("all: %v, %v", got, err)
	}
}

func TestLoadEndsAtItsTimeLimit(t *testing.T) {
	inNamespace(t)
	held, err := startLoad(shape{load: load{established, 20}, processes: 2, peers: 1, limit: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	e2e.WaitFor(t, 5*time.Second, "the end of the load", func() bool { return takeCensus(t).sockets == 0 })
	if err := held.stop(); err == nil {
		t.Error("stop does not tell that the load ended early")
	}
}

func TestLoadEndsWithTheProcessThatMadeIt(t *testing.T) {
	inNamespace(t)
	for _, sign := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		// All the processes of the load have the pipe as their standard error,
		// so that it ends with the last of them.
		maker := exec.Command(os.Args[0], "load", "--sockets=200", "--processes=4", "--time=30s")
		maker.Stderr = write
		stdout, err := maker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := maker.Start(); err != nil {
			t.Fatal(err)
		}
		_ = write.Close()
		if _, err := stdout.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if got := takeCensus(t).established; got != 200 {
			t.Errorf("%d sockets, want 200", got)
		}
		_ = maker.Process.Signal(sign)
		_ = maker.Wait()
		_ = read.SetReadDeadline(time.Now().Add(5 * time.Second))
		if said, err := io.ReadAll(read); err != nil || len(said) > 0 {
			t.Errorf("after %s: %q, %v", sign, said, err)
		}
		_ = read.Close()
		e2e.WaitFor(t, 5*time.Second, "the last socket to go", func() bool { return takeCensus(t).sockets == 0 })
	}
}
