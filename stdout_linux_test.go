package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOutputThatDoesNotArriveIsUnknown(t *testing.T) {
	recording := []string{"--test", "testdata/small-server.json"}
	for _, test := range []struct {
		name      string
		arguments []string
		code      int
	}{
		{"OK", recording, 0},
		{"WARNING", append(slices.Clone(recording), "-w", "0"), 1},
		{"CRITICAL", append(slices.Clone(recording), "-c", "0"), 2},
		{"always OK", append(slices.Clone(recording), "-c", "0", "--always-ok"), 0},
		{"live", nil, 0},
		{"bad arguments", []string{"--nonsense"}, 3},
		{"help", []string{"--help"}, 3},
		{"version", []string{"--version"}, 3},
	} {
		for _, output := range []struct {
			name, redirection string
			fails             bool
		}{
			{"closed", ">&-", true},
			{"all closed", ">&- 2>&- <&-", true},
			{"full", ">/dev/full", true},
			{"not open for writing", "1</dev/null", true},
			{"thrown away", ">/dev/null", false},
		} {
			t.Run(test.name+", "+output.name, func(t *testing.T) {
				command := program()
				command.Args = slices.Concat([]string{"sh", "-c", `exec "$@" ` + output.redirection, "sh"}, command.Args, test.arguments)
				command.Path, command.Err = exec.LookPath("sh")
				want := test.code
				if output.fails {
					want = 3
				}
				if printed, code := outputOf(t, command); code != want || printed != "" {
					t.Errorf("got %d %s", code, printed)
				}
			})
		}
		t.Run(test.name+", nobody reads it", func(t *testing.T) {
			unread, writing, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer writing.Close()
			_ = unread.Close()
			command := program(test.arguments...)
			command.Stdout = writing
			_ = command.Run()
			if code := command.ProcessState.ExitCode(); code != 3 {
				t.Errorf("got %d (%s)", code, command.ProcessState)
			}
		})
	}
}

// fullPipe returns a pipe that takes nothing more, and that nobody empties.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	unread, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unread.Close()
		_ = writing.Close()
	})
	size, err := unix.FcntlInt(writing.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writing.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return writing
}

func TestOutputThatNobodyTakesDoesNotHoldUpTheCheck(t *testing.T) {
	t.Parallel() // it waits more than it works
	command := program("--timeout", "1", "--test", "testdata/small-server.json")
	command.Stdout = fullPipe(t)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// It must end by itself, however long a busy machine takes for that.
	emergency := time.AfterFunc(time.Minute, func() { _ = command.Process.Kill() })
	defer emergency.Stop()
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != 3 {
		t.Errorf("got %d (%s)", code, command.ProcessState)
	}
}
