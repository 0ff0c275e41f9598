package main

import (
	"bufio"
	"fmt"
	"io"
	stdnet "net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// The tests in files called …_real_linux_test.go are about real sockets and real
// processes. This file has what they share.

// nobody is the id of the user and the group that Debian gives to nobody.
const nobody = 65534

// often returns how often something is tried: as often as CHECK_LONG=1 asks for,
// or a few times.
func often(few, long int) int {
	if e2e.IsLong() {
		return long
	}
	return few
}

// inOwnNetwork prepares a test with real sockets: as root, in a network
// namespace of its own. It returns the program that every user may run, or ""
// where the test has been run in a child already.
func inOwnNetwork(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real sockets take a while")
	}
	e2e.NeedRoot(t)
	plugin := e2e.Plugin(t)
	t.Parallel() // it waits more than it works
	if !e2e.OwnNetwork(t) {
		return ""
	}
	return plugin
}

// runBy runs a program as the user, 0 being the user of the tests.
func runBy(t *testing.T, user uint32, path string, arguments ...string) (output string, code int) {
	t.Helper()
	command := exec.Command(path, arguments...)
	if user != 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	return outputOf(t, command)
}

// inMounts returns the command that runs the program in a mount namespace of its
// own, behind a script that has the arguments of the command in "$@".
func inMounts(t *testing.T, script, path string, arguments ...string) *exec.Cmd {
	t.Helper()
	e2e.Need(t, "util-linux mount", "unshare", "mount", "setpriv")
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", "set -e\n" + script + "\n" + `exec "$@"`, "sh", path}, arguments...)...)
}

var idleTimes = regexp.MustCompile(`longest \S+, median \S+,`)

// undated returns an output without how long connections are idle, which depends
// on the speed of the machine.
func undated(output string) string {
	return idleTimes.ReplaceAllString(output, "longest ..., median ...,")
}

// waitForRows waits until the kernel shows as many sockets of these groups.
func waitForRows(t *testing.T, want map[e2e.Group]int) {
	t.Helper()
	var rows map[e2e.Group]int
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the kernel had %v", rows)
		}
	})
	e2e.WaitFor(t, time.Minute, fmt.Sprint(want), func() bool {
		rows = e2e.NetworkRows(t)
		for wanted, number := range want {
			if rows[wanted] != number {
				return false
			}
		}
		return true
	})
}

func portOf(address string) string {
	_, port, _ := stdnet.SplitHostPort(address)
	return port
}

func init() {
	helpers["server"] = server
	helpers["client"] = client
	helpers["churn"] = churn
	helpers["headless"] = headless
	if os.Getenv(testAs) == "headless" {
		runtime.LockOSThread() // the first thread, for it to end
	}
}

// startHelper starts a helper that ends with the test, and returns it and the first
// line that it prints.
func startHelper(t *testing.T, command *exec.Cmd) (process *os.Process, line string) {
	t.Helper()
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err = bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", command.Args, err)
	}
	return command.Process, strings.TrimSpace(line)
}

// kept are connections that must not be collected as garbage, and closed.
var kept []stdnet.Conn

// must ends a helper that has failed.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rename gives this process the name that others see.
func rename(name string) { must(os.WriteFile("/proc/self/comm", []byte(name), 0)) }

// server takes a name and an address to listen on, prints the address, and
// accepts connections. With "close" as third argument it closes each at once,
// with "polite" after its peer, otherwise never.
func server() {
	rename(os.Args[1])
	listening, err := stdnet.Listen("tcp", os.Args[2])
	must(err)
	fmt.Println(listening.Addr())
	for {
		connection, err := listening.Accept()
		must(err)
		switch os.Args[3] {
		case "close":
			_ = connection.Close()
		case "polite":
			go closeAfterPeer(connection)
		default:
			kept = append(kept, connection)
		}
	}
}

func closeAfterPeer(connection stdnet.Conn) {
	_, _ = io.Copy(io.Discard, connection)
	_ = connection.Close()
}

// acceptAll accepts connections and closes each as soon as its peer has.
func acceptAll(from stdnet.Listener) {
	for {
		connection, err := from.Accept()
		if err != nil {
			return
		}
		go closeAfterPeer(connection)
	}
}

// client takes a name, an address and a number, opens as many connections, and
// says so. With "close" as fourth argument it closes them, and else keeps them.
func client() {
	rename(os.Args[1])
	number, err := strconv.Atoi(os.Args[3])
	must(err)
	for range number {
		connection, err := stdnet.Dial("tcp", os.Args[2])
		must(err)
		kept = append(kept, connection)
	}
	if os.Args[4] == "close" {
		for _, connection := range kept {
			_ = connection.Close()
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// churn opens and closes connections to an address, a number of them at a time,
// until it is killed or an hour is over.
func churn() {
	turnover, err := strconv.Atoi(os.Args[2])
	must(err)
	fmt.Println("ready")
	for range turnover {
		go func() {
			for {
				connection, err := stdnet.Dial("tcp4", os.Args[1])
				must(err)
				_ = connection.(*stdnet.TCPConn).SetLinger(0) // no TIME_WAIT, the ports would run out
				_ = connection.Close()
			}
		}()
	}
	time.Sleep(time.Hour)
}

// headless is a server, as is the helper of this name, whose first thread ends.
func headless() {
	go server()
	for !isListening() {
		time.Sleep(time.Millisecond)
	}
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// isListening tells whether this process has a socket.
func isListening() bool {
	entries, err := os.ReadDir("/proc/self/fd")
	must(err)
	for _, entry := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + entry.Name()); strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}
