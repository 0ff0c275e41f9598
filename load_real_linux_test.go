package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// loadProgram is the environment variable with the path of the load generator.
const loadProgram = "CHECK_NETWORK_CONNECTIONS_TEST_LOAD"

func TestManySocketsNeedLittleMemory(t *testing.T) {
	e2e.NeedLong(t)
	plugin := e2e.Plugin(t)
	if os.Getenv(loadProgram) == "" {
		load := filepath.Join(e2e.Folder(t), "load")
		build := exec.Command("go", "build", "-o", load, "./bench")
		build.Dir = e2e.Root()
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		t.Setenv(loadProgram, load)
	}
	e2e.NeedRoot(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	started := exec.Command(os.Getenv(loadProgram), "load", "--sockets", "300000", "--time", "5m")
	started.Env = append(os.Environ(), "GOMAXPROCS=2")
	if _, line := startHelper(t, started); !strings.HasPrefix(line, "300000 sockets") {
		t.Fatalf("got %s", line)
	}
	e2e.Need(t, "util-linux", "unshare")
	sleepers := exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "for i in $(seq 5000); do sleep 600 & done; echo ready; read end")
	startHelper(t, sleepers)
	// The kernel keeps what it made for whoever looked at the links under /proc
	// first, some 300 MiB, and charges it to him. Here that is not the program.
	if output, code := run(t, "--by", "process", "--timeout", "240"); code != 0 {
		t.Fatal(output)
	}
	memory := limited(t, "memory", map[string]string{"memory.limit_in_bytes": "16777216", "memory.max": "16777216"})
	// The processes of the load are started as /proc/self/exe.
	const held = "ESTABLISHED held by: exe (root"
	for _, test := range []struct {
		arguments string
		code      int
		text      string
		lines     []string // what lines after the first one begin with
	}{
		{"", 0, "tcp ESTABLISHED: 150000, tcp6 ESTABLISHED: 150000", nil},
		{"--conn-status close_wait -w 10", 0, `No connections of type "all" in status "close_wait" found.`, nil},
		{"-c total=20000", 2, "tcp ESTABLISHED: 150000, tcp6 ESTABLISHED: 150000, total: 300000 [CRITICAL] (exe 300000)", []string{"total held by: exe (root", "total peers: ", "total idle: "}},
		{"-w 149999 -c tcp6=20000", 2, "tcp ESTABLISHED: 150000 [WARNING], tcp6 ESTABLISHED: 150000 [CRITICAL] (exe 150000)", []string{
			"tcp6 " + held, "tcp6 ESTABLISHED peers: ", "tcp6 ESTABLISHED idle: ", "tcp " + held, "tcp ESTABLISHED peers: ", "tcp ESTABLISHED idle: ",
		}},
		{"--by process", 0, "exe: 300000", nil},
		{"--by user,status", 0, "root ESTABLISHED: 300000", nil},
	} {
		t.Run(test.arguments, func(t *testing.T) {
			arguments := append(strings.Fields(test.arguments), "--timeout", "240", "--no-perfdata")
			output, code := outputOf(t, inMounts(t, fmt.Sprintf("echo $$ >%q", memory), plugin, arguments...))
			lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")
			isRight := slices.EqualFunc(lines[1:], test.lines, strings.HasPrefix)
			if code != test.code || textOf(output) != test.text || !isRight {
				t.Errorf("got %d %s\nwant %d %s, %q", code, output, test.code, test.text, test.lines)
			}
		})
	}
}

func TestRunsLeaveNothingBehind(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := holdSockets(t)
	folder := t.TempDir() // all that the runs have to write into
	// Who loses its parent becomes a child of this process, and can be found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	rows, earlier := e2e.NetworkRows(t), descriptors(t)

	type call struct {
		arguments string
		code      int
		text      string
		each      int // of how many runs it is one
	}
	calls := []call{
		{"--by user", 0, "root: 14", 50},
		{"-c tcp_established=5", 2, "tcp ESTABLISHED: 6 [CRITICAL] (", 20},
		{"--source gopsutil", 0, whole, 101},
		{"--by netns,type --conn-type udp", 0, filepath.Base(os.Args[0]) + " udp: 1", 203},
		{"--nonsense", 3, `unknown flag "--nonsense"`, 507},
		{"", 0, whole, 1},
	}
	runOnce := func(number int) error {
		each := calls[slices.IndexFunc(calls, func(c call) bool { return number%c.each == 0 })]
		command := exec.Command(plugin, append(strings.Fields(each.arguments), "--timeout", "240")...)
		command.Dir = folder
		command.Env = []string{"HOME=" + folder, "TMPDIR=" + folder}
		output, _ := command.CombinedOutput()
		if code := command.ProcessState.ExitCode(); code != each.code || !strings.HasPrefix(textOf(string(output)), each.text) {
			return fmt.Errorf("run %d, %s: got %s %q", number, each.arguments, command.ProcessState, output)
		}
		return nil
	}
	for _, test := range []struct{ runs, together int }{{often(100, 10_000), 1}, {often(100, 4_000), often(20, 200)}} {
		t.Run(fmt.Sprintf("%d at a time", test.together), func(t *testing.T) {
			began := time.Now()
			numbers := make(chan int)
			var workers sync.WaitGroup
			for range test.together {
				workers.Go(func() {
					for number := range numbers {
						if err := runOnce(number); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for number := range test.runs {
				if t.Failed() {
					break
				}
				numbers <- number
			}
			close(numbers)
			workers.Wait()
			t.Logf("%d runs took %s", test.runs, time.Since(began))

			if files, err := os.ReadDir(folder); err != nil || len(files) > 0 {
				t.Errorf("files were left behind: %v, %v", files, err)
			}
			if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
				t.Errorf("processes were left behind: %v", err)
			}
			if now := descriptors(t); now > earlier+1 { // one for what waits for processes
				t.Errorf("%d descriptors are open, %d were", now, earlier)
			}
			if after := e2e.NetworkRows(t); fmt.Sprint(after) != fmt.Sprint(rows) {
				t.Errorf("sockets were left behind: %v, earlier %v", after, rows)
			}
		})
	}
}
