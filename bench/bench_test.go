//go:build linux

package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
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
	os.Exit(m.Run())
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
	sockets, ipv6, established, peers int
}

func count(t *testing.T) (c census) {
	t.Helper()
	peers := make(map[string]bool)
	for _, name := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range strings.Split(strings.TrimSpace(string(content)), "\n")[1:] {
			fields := strings.Fields(row)
			c.sockets++
			if name == "tcp6" {
				c.ipv6++
			}
			if fields[3] == "01" {
				c.established++
			}
			address, _, _ := strings.Cut(fields[2], ":")
			if _, err := hex.DecodeString(address); err != nil {
				t.Fatalf("%s: %q", name, row)
			}
			peers[address] = true
		}
	}
	c.peers = len(peers)
	return c
}

func TestLoadMakesTheSocketsAskedForAndLeavesNothing(t *testing.T) {
	inNamespace(t)
	for _, test := range []struct {
		shape     Shape
		processes int
		want      census
	}{
		{Shape{Sockets: 0, Peers: 1}, 0, census{}},
		{Shape{Sockets: 2, Processes: 1, Peers: 1}, 1, census{2, 0, 2, 1}},
		{Shape{Sockets: 202, Processes: 3, Peers: 1}, 3, census{202, 0, 202, 1}},
		{Shape{Sockets: 1000, Processes: 7, Peers: 10}, 7, census{1000, 500, 1000, 10}},
		{Shape{Sockets: 2000, Peers: 400}, 10, census{2000, 1000, 2000, 400}},
	} {
		test.shape.Limit = time.Minute
		load, err := startLoad(test.shape)
		if err != nil {
			t.Fatalf("%+v: %v", test.shape, err)
		}
		got, processes := count(t), len(load.holders)
		if err := load.stop(); err != nil {
			t.Errorf("%+v: stop: %v", test.shape, err)
		}
		if got != test.want || processes != test.processes {
			t.Errorf("%+v: %+v in %d processes, want %+v in %d", test.shape, got, processes, test.want, test.processes)
		}
		if left := count(t); left != (census{}) {
			t.Errorf("%+v leaves %+v", test.shape, left)
		}
	}
}

func TestLoadRefusesWhatCannotBe(t *testing.T) {
	for _, shape := range []Shape{
		{Sockets: -2, Peers: 1},
		{Sockets: 3, Peers: 1},
		{Sockets: maxSockets + 2, Peers: 1},
		{Sockets: 10, Peers: 0},
		{Sockets: 10, Peers: 1<<16 + 1},
		{Sockets: 10, Peers: 1, Processes: -1},
	} {
		if _, err := startLoad(shape); err == nil {
			t.Errorf("%+v was not refused", shape)
		}
	}
}

func TestLoadEndsAtItsTimeLimit(t *testing.T) {
	inNamespace(t)
	load, err := startLoad(Shape{Sockets: 20, Processes: 2, Peers: 1, Limit: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	e2e.WaitFor(t, 5*time.Second, "the end of the load", func() bool { return count(t).sockets == 0 })
	if err := load.stop(); err == nil {
		t.Error("stop does not tell that the load ended early")
	}
}

func TestLoadEndsWithTheProcessThatMadeIt(t *testing.T) {
	inNamespace(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
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
		if got := count(t).established; got != 200 {
			t.Errorf("%d sockets, want 200", got)
		}
		_ = maker.Process.Signal(signal)
		_ = maker.Wait()
		_ = read.SetReadDeadline(time.Now().Add(5 * time.Second))
		if said, err := io.ReadAll(read); err != nil || len(said) > 0 {
			t.Errorf("after %s: %q, %v", signal, said, err)
		}
		_ = read.Close()
		e2e.WaitFor(t, 5*time.Second, "the last socket to go", func() bool { return count(t).sockets == 0 })
	}
}

func TestMeasuredMemoryIsThatOfTheCommand(t *testing.T) {
	measure := filepath.Join(t.TempDir(), "measure")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", measure, "./measure")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	ballast := bytes.Repeat([]byte("memory of this process"), 5<<20)
	small, err := run(t.Context(), measure, []string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	if small.memory < 100<<10 || small.memory > 4<<20 {
		t.Errorf("true took %d bytes next to a process of %d", small.memory, len(ballast))
	}
	slow, err := run(t.Context(), measure, []string{"sleep", "0.2"})
	if err != nil || slow.took < 200*time.Millisecond || slow.took > 2*time.Second {
		t.Errorf("sleep 0.2 took %s, %v", slow.took, err)
	}
	if _, err := run(t.Context(), measure, []string{"false"}); err == nil || err.Error() != "exit code 1" {
		t.Errorf("false: %v", err)
	}
	if _, err := run(t.Context(), measure, []string{"/no/such/program"}); err == nil {
		t.Error("a program that does not exist was measured")
	}
}

func TestWhyACommandIsSkipped(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                                "",
		"exit 7":                                "exit status 7",
		"echo '[UNKNOWN] - no'; echo x; exit 3": "[UNKNOWN] - no",
		"echo Traceback:; echo no psutil; exit 1": "no psutil",
	} {
		if got := try(t.Context(), []string{"sh", "-c", script}); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}

func TestComparisonMeasuresEveryCommand(t *testing.T) {
	e2e.Need(t, "iproute2 net-tools python3-psutil", "ss", "netstat", "/usr/bin/python3")
	folder := t.TempDir()
	bench := exec.Command(os.Args[0], "--sockets=200,0", "--rounds=2")
	bench.Env = append(os.Environ(), "TMPDIR="+folder)
	var progress bytes.Buffer
	bench.Stderr = &progress
	output, err := bench.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	for _, row := range []string{
		"| 0 | " + plain + " | ", "| 0 | " + ss + " | ",
		"| 200 | " + plain + " | ", "| 200 | " + ss + " | ", "| 200 | " + netstat + " | ",
		"| 200 | " + psutil + " | ", "| 200 | " + gopsutil + " | ",
		"| idle: time against ss | at most 1.30 | ",
	} {
		if !strings.Contains(string(output), row) {
			t.Errorf("%q is missing", row)
		}
	}
	if strings.Contains(string(output), "skipped") || strings.Contains(string(output), "NaN") || t.Failed() {
		t.Errorf("output:\n%s", output)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInterruptedComparisonLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	bench := exec.Command(os.Args[0], "--sockets=200", "--rounds=1000000")
	bench.Env = append(os.Environ(), "TMPDIR="+folder)
	bench.Stderr = write
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	// The progress is the sign that the load is there.
	_ = read.SetReadDeadline(time.Now().Add(2 * time.Minute))
	said := ""
	for buffer := make([]byte, 1000); !strings.Contains(said, "round 3 "); {
		n, err := read.Read(buffer)
		if err != nil {
			t.Fatalf("%v after: %s", err, said)
		}
		said += string(buffer[:n])
	}
	_ = bench.Process.Signal(os.Interrupt)
	if _, err := io.ReadAll(read); err != nil {
		t.Error(err)
	}
	if err := bench.Wait(); err == nil {
		t.Error("an interrupted comparison says that all is well")
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestVerdicts(t *testing.T) {
	of := func(milliseconds int, mib float64) *measurement {
		return &measurement{samples: []sample{{time.Duration(milliseconds) * time.Millisecond, int(mib * (1 << 20))}}}
	}
	r := &results{sizes: []int{100_000, 500_000}, measured: map[int]map[string]*measurement{
		100_000: {
			plain: of(100, 8), ss: of(160, 7), psutil: of(1100, 100), gopsutil: of(2500, 100),
			closeWait: of(25, 8), byLocalPort: of(201, 8), byProcess: {problem: "unknown flag"},
		},
		500_000: {plain: of(500, 12.5)},
	}}
	verdicts := r.judge()
	var output bytes.Buffer
	printVerdicts(&output, verdicts)
	for _, row := range []string{
		"| 100,000 sockets: psutil's time | at least 12.0 | 11.0 | no |",
		"| 100,000 sockets: psutil's memory | at least 10.0 | 12.5 | yes |",
		"| 100,000 sockets: gopsutil's time | at least 25.0 | 25.0 | yes |",
		"| 100,000 sockets: ss's time | at least 1.50 | 1.60 | yes |",
		"| 100,000 sockets: plain call's time against `--conn-status=close_wait` | at least 4.00 | 4.00 | yes |",
		"| 100,000 sockets, `--by local-port`: time against the plain call | at most 2.00 | 2.01 | no |",
		"| 100,000 sockets, `check_network_connections --by process`: peak memory | at most 40.0 MiB | skipped | no |",
		"| 100,000 sockets, `check_network_connections`: peak memory | at most 12.0 MiB | 8.0 MiB | yes |",
		"| 500,000 sockets, `check_network_connections`: peak memory | at most 12.0 MiB | 12.5 MiB | no |",
	} {
		if !strings.Contains(output.String(), row+"\n") {
			t.Errorf("%s is missing", row)
		}
	}
	for _, text := range []string{"idle: ", "that at 10,000"} {
		if strings.Contains(output.String(), text) {
			t.Errorf("%q was not asked for", text)
		}
	}
	if t.Failed() {
		t.Log(output.String())
	}
	for _, v := range verdicts {
		if want := strings.Contains(output.String(), "| "+v.text) && !v.reached(); v.failed() != want {
			t.Errorf("%s: failed is %t", v.text, v.failed())
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(test.values); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for got, want := range map[string]string{
		formatCount(0):                   "0",
		formatCount(100_000):             "100,000",
		formatCount(1_000_001):           "1,000,001",
		formatTime(0.00312):              "3.1 ms",
		formatTime(0.2504):               "250 ms",
		formatTime(24.81):                "24.8 s",
		formatMemory(8.25 * 1024 * 1024): "8.2 MiB",
		formatRatio(1.304):               "1.30",
		formatRatio(24.96):               "25.0",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if line := hardware(); !strings.HasPrefix(line, "Hardware: ") || !strings.Contains(line, "Linux") {
		t.Errorf("hardware line %q", line)
	}
}
