package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// hangs returns the command that runs the program where reading the sockets never
// ends, behind a script, and the pipe that it reads.
func hangs(t *testing.T, script, plugin string, arguments ...string) (command *exec.Cmd, pipe string) {
	t.Helper()
	// In a mount namespace of its own /proc/net/tcp is a pipe that nobody writes.
	proc := t.TempDir()
	addToTree(t, procfs(proc), map[string]string{"net/": ""})
	pipe = filepath.Join(proc, "net/tcp")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	script = fmt.Sprintf("%s\nmount --bind %q /proc", script, proc)
	return inMounts(t, script, plugin, append([]string{"--source", "gopsutil"}, arguments...)...), pipe
}

func needHanging(t *testing.T) (plugin string) {
	t.Helper()
	if testing.Short() {
		t.Skip("real programs take a while")
	}
	e2e.NeedRoot(t)
	t.Parallel() // it waits more than it works
	return e2e.Plugin(t)
}

func TestReadingThatHangsEndsAtTheTimeout(t *testing.T) {
	command, _ := hangs(t, "", needHanging(t), "--timeout", "1")
	if output, code := outputOf(t, command); output != "[UNKNOWN] - Timeout reached\n" || code != 3 {
		t.Errorf("got %d %s", code, output)
	}
}

// However little of a processor there is for the check, which is busy with a
// large recording, the one line is written.
func TestTimeoutIsToldOnOnePercentOfAProcessor(t *testing.T) {
	plugin := needHanging(t)
	recording := filepath.Join(t.TempDir(), "large.json")
	content := "[" + strings.Repeat(`{"proto":"tcp","status":"LISTEN"},`, 1<<20) + `{"proto":"udp"}]`
	if err := os.WriteFile(recording, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	fraction := limited(t, "cpu", map[string]string{"cpu.cfs_quota_us": "1000", "cpu.max": "1000 100000"})
	failed, runs := map[string]int{}, often(3, 26)
	for range runs {
		output, code := outputOf(t, inMounts(t, fmt.Sprintf("echo $$ >%q", fraction), plugin, "--test", recording, "--timeout", "1"))
		if output != "[UNKNOWN] - Timeout reached\n" || code != 3 {
			failed[fmt.Sprintf("%d %q", code, output)]++
		}
	}
	if len(failed) > 0 {
		t.Errorf("of %d runs: %v", runs, failed)
	}
}

func TestSignalEndsAReadingThatHangs(t *testing.T) {
	plugin := needHanging(t)
	for signal, name := range map[syscall.Signal]string{unix.SIGTERM: "terminated", unix.SIGHUP: "hangup", unix.SIGINT: "interrupt"} {
		t.Run(name, func(t *testing.T) {
			command, pipe := hangs(t, "", plugin, "--timeout", "600")
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var stdout, stderr strings.Builder
			command.Stdout, command.Stderr = &stdout, &stderr
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			emergency := time.AfterFunc(2*time.Minute, func() { _ = command.Process.Kill() })
			defer emergency.Stop()
			e2e.WaitFor(t, time.Minute, "the program to read", func() bool {
				writer, err := unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err != nil {
					return false
				}
				t.Cleanup(func() { _ = unix.Close(writer) })
				return true
			})
			time.Sleep(20 * quickRun)
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait()
			if want := "[UNKNOWN] - Received signal: " + name + "\n"; stdout.String() != want || stderr.Len() > 0 || command.ProcessState.ExitCode() != 3 {
				t.Errorf("got %s %q %q\nwant %q", command.ProcessState, stdout.String(), stderr.String(), want)
			}
			if err := unix.Kill(-command.Process.Pid, 0); err != unix.ESRCH {
				t.Errorf("it left a process behind: %v", err)
			}
		})
	}
}
