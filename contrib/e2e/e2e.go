// Package e2e is what the tests on real systems share: finding the system or
// skipping, building the program under test, and waiting for a result.
// The program itself does not need it.
package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// Plugin builds the program once for each test binary and returns the path of
// the executable, which every user may run.
func Plugin(t testing.TB) string {
	t.Helper()
	build.Do(func() {
		var dir string
		if dir, build.err = os.MkdirTemp("", "check_network_connections-"); build.err != nil {
			return
		}
		if build.err = os.Chmod(dir, 0o755); build.err != nil {
			return
		}
		build.path = filepath.Join(dir, "check_network_connections")
		command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", build.path, ".")
		command.Dir = Root()
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.log, build.err = command.CombinedOutput()
	})
	if build.err != nil {
		t.Fatalf("building the program: %v\n%s", build.err, build.log)
	}
	return build.path
}

// Cleanup removes what Plugin built. TestMain of a package that uses Plugin
// calls it after the tests.
func Cleanup() {
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path))
	}
}

// Root returns the top folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// FreePort returns a TCP port that was free on 127.0.0.1 a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// WaitFor calls ready until it returns true, and fails the test after the
// limit with what was waited for.
func WaitFor(t testing.TB, limit time.Duration, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ready() {
			return
		}
	}
	t.Fatalf("waited %s in vain for %s", limit, what)
}

// Run runs a command to its end and returns what it printed on both outputs.
// The test fails where the command does.
func Run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// Start starts a daemon whose output goes to the test's log when the test
// fails. It is killed, with all that it started, when the test ends.
func Start(t testing.TB, command *exec.Cmd) {
	t.Helper()
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	ownProcessGroup(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killProcessGroup(command)
		_ = command.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", command.Path, output.String())
		}
	})
}
