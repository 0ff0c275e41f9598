// Package e2e is what the tests on real systems share: finding the system or
// skipping, building the program under test, and waiting for a result.
// The program itself does not need it.
package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Skip skips the test for the reason given, or fails it where REQUIRE_E2E=1
// says that everything must be there. The reason names what is missing and
// what to install.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("REQUIRE_E2E") == "1" {
		t.Fatalf("REQUIRE_E2E=1 forbids to skip: %s", reason)
	}
	t.Skip(reason)
}

// IsLong reports whether CHECK_LONG=1 asks for the tests that take minutes.
func IsLong() bool { return os.Getenv("CHECK_LONG") == "1" }

// NeedLong skips a test that takes minutes, unless CHECK_LONG=1 asks for it.
func NeedLong(t testing.TB) {
	t.Helper()
	if !IsLong() {
		t.Skip("this takes long, CHECK_LONG=1 runs it")
	}
}

// Need skips the test unless all the programs are installed. The Debian
// packages that hold them are named in the message.
func Need(t testing.TB, packages string, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			Skip(t, program+" is missing: apt-get install "+packages)
		}
	}
}

// NeedRoot skips the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "this test must run as root")
	}
}

var build struct {
	sync.Once
	path string
	err  error
	log  []byte
}

// builtPlugin is the environment variable that tells a test binary in a network
// namespace of its own (OwnNetwork) where the program is.
const builtPlugin = "E2E_PLUGIN"

// Plugin builds the program once for each test binary and returns the path of
// the executable, which every user may run.
func Plugin(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(builtPlugin); path != "" {
		return path
	}
	build.Do(func() { build.path, build.log, build.err = buildPlugin() })
	if build.err != nil {
		t.Fatalf("building the program: %v\n%s", build.err, build.log)
	}
	return build.path
}

func buildPlugin() (path string, log []byte, err error) {
	folder, err := os.MkdirTemp("", "check_network_connections-")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(folder, "check_network_connections")
	command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	command.Dir = Root()
	// It has to run here, whatever the tests were built for and with.
	command.Env = append(slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GOOS", "GOARCH", "GOFLAGS"}, name)
	}), "CGO_ENABLED=0")
	if err = os.Chmod(folder, 0o755); err == nil {
		log, err = command.CombinedOutput()
	}
	if err != nil {
		_ = os.RemoveAll(folder)
		return "", log, err
	}
	return path, nil, nil
}

// Cleanup removes what Plugin built. TestMain of a package that uses Plugin
// calls it after the tests.
func Cleanup() {
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path))
	}
}

// started is where the test binary was started: in the folder of its package.
var started, _ = os.Getwd()

// Root returns the top folder of the repository.
func Root() string {
	for folder := started; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
	}
	panic("the tests must be started in the repository, not in " + started)
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePort returns a TCP port that was free on 127.0.0.1 a moment ago, and
// another one at each call.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		_ = listener.Close()
		if !ports.given[port] {
			if ports.given == nil {
				ports.given = map[int]bool{}
			}
			ports.given[port] = true
			return port
		}
	}
	t.Fatal("there is no free port that was not given away before")
	return 0
}

// WaitFor calls ready until it returns true, and fails the test after the
// limit with what was waited for, or as soon as a daemon of Start has failed.
func WaitFor(t testing.TB, limit time.Duration, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ready() {
			return
		}
		if failure := failedDaemon(); failure != "" {
			t.Fatalf("waited in vain for %s: %s", what, failure)
		}
	}
	t.Fatalf("waited %s in vain for %s", limit, what)
}

// runLimit is how long Run lets a command run.
const runLimit = 3 * time.Minute

// Run runs a command to its end and returns what it printed on both outputs.
// The test fails where the command does, or does not end within three minutes.
func Run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	ownProcessGroup(command)
	command.Cancel = func() error { killProcessGroup(command); return nil }
	command.WaitDelay = outputDelay
	output, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %s: did not end within %s\n%s", name, strings.Join(arguments, " "), runLimit, output)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

const (
	// outputDelay is how long the end of the output is waited for when a
	// process has ended: another one that it left behind may hold the pipe.
	outputDelay = 2 * time.Second
	// politeDelay is how long a daemon may take to end when it is told to.
	politeDelay = 2 * time.Second
)

var daemons struct {
	sync.Mutex
	failed map[*exec.Cmd]error
}

// failedDaemon names a daemon that ended with an error while it was needed, or
// returns "".
func failedDaemon() string {
	daemons.Lock()
	defer daemons.Unlock()
	for command, err := range daemons.failed {
		return command.Path + ": " + err.Error()
	}
	return ""
}

// Start starts a daemon whose output goes to the test's log when the test
// fails. It is ended, with all that it started, when the test ends.
func Start(t testing.TB, command *exec.Cmd) {
	t.Helper()
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	command.WaitDelay = outputDelay
	ownProcessGroup(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := command.Wait(); err != nil {
			daemons.Lock()
			defer daemons.Unlock()
			if daemons.failed == nil {
				daemons.failed = map[*exec.Cmd]error{}
			}
			daemons.failed[command] = err
		}
	}()
	t.Cleanup(func() {
		endProcessGroup(command)
		select {
		case <-ended:
		case <-time.After(politeDelay):
		}
		killProcessGroup(command) // also what the daemon left behind
		<-ended
		daemons.Lock()
		delete(daemons.failed, command)
		daemons.Unlock()
		if t.Failed() {
			t.Logf("%s printed:\n%s", command.Path, output.String())
		}
	})
}
