package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// The least that the program needs to run, with a margin: below, the Go runtime
// ends it with exit code 2 and no output.
const (
	leastAddressSpace = 2048 // MiB, ulimit -v
	leastDescriptors  = 16   // ulimit -n
	leastThreads      = 12   // pids.max, with those that run already
)

func TestProgramRunsWithTheLeastItNeeds(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Need(t, "util-linux", "prlimit")
	whole := holdSockets(t)
	threads := limited(t, "pids", map[string]string{"pids.max": strconv.Itoa(leastThreads)})
	within := func(resource string, number int, arguments string) (output string, code int) {
		command := exec.Command("prlimit", append([]string{fmt.Sprintf("--%s=%d", resource, number), plugin}, strings.Fields(arguments)...)...)
		if resource == "pids" {
			if err := os.WriteFile(filepath.Join(filepath.Dir(threads), "pids.max"), []byte(strconv.Itoa(number)), 0); err != nil {
				t.Fatal(err)
			}
			command = inMounts(t, fmt.Sprintf("echo $$ >%q", threads), plugin, strings.Fields(arguments)...)
		}
		command.Env = append(os.Environ(), "GOMAXPROCS=64") // as on a large host
		printed, _ := command.Output()                      // the runtime says more on standard error
		return string(printed), command.ProcessState.ExitCode()
	}
	const plain, most = "--timeout 240", "--timeout 240 --by process -w limits=100"
	own := filepath.Base(os.Args[0])
	for _, floor := range []struct {
		resource     string
		number, unit int
	}{{"as", leastAddressSpace, 1 << 20}, {"nofile", leastDescriptors, 1}, {"pids", leastThreads, 1}} {
		for range often(3, 50) {
			for arguments, want := range map[string]string{plain: whole, most: own + ": 14, limits: "} {
				if output, code := within(floor.resource, floor.number*floor.unit, arguments); code != 0 || !strings.HasPrefix(textOf(output), want) {
					t.Fatalf("%s of %d, %s: got %d %s", floor.resource, floor.number, arguments, code, output)
				}
			}
		}
		if !e2e.IsLong() {
			continue
		}
		for number := floor.number; number > 0; number -= max(1, floor.number/16) {
			failed := 0
			for range 10 {
				if _, code := within(floor.resource, number*floor.unit, most); code == 2 {
					failed++
				}
			}
			t.Logf("%s of %d: %d of 10 runs end with exit code 2", floor.resource, number, failed)
			if failed == 10 {
				break
			}
		}
	}
	for _, number := range []int{6, 5} { // enough to say what is missing
		for arguments, want := range map[string]string{plain: whole, most: own + ": 14, limits: "} {
			output, code := within("nofile", number, arguments)
			if code == 0 && strings.HasPrefix(textOf(output), want) || code == 3 && strings.Contains(output, "too many open files") {
				continue
			}
			t.Errorf("%d descriptors, %s: got %d %s", number, arguments, code, output)
		}
	}
}

// Culprits that cannot be told in time cost nothing of the verdict.
func TestVerdictIsThatWithoutCulpritsWhenTheseHang(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	listens(t, "127.0.0.1:80", 1, false)
	var inode string
	for line := range strings.Lines(e2e.Run(t, "cat", "/proc/thread-self/net/tcp")) {
		if words := strings.Fields(line); words[3] == "0A" {
			inode = words[9]
		}
	}
	// A process whose name nobody can read has the socket.
	script := fmt.Sprintf(`real=%q
mount --rbind /proc "$real"
mount -t tmpfs none /proc
for name in self thread-self net sys mounts; do ln -s "$real/$name" /proc/; done
mkdir -p /proc/1 /proc/7/fd
ln -s 'socket:[%s]' /proc/7/fd/3
mkfifo /proc/7/comm
`, e2e.Folder(t), inode)
	for arguments, want := range map[string]string{
		"--no-details": "[WARNING] - tcp LISTEN: 1 [WARNING]|tcp_LISTEN=1;0;;0\n",
		"":             "[WARNING] - tcp LISTEN: 1 [WARNING]|tcp_LISTEN=1;0;;0\nno time was left to find the holders\n",
	} {
		output, code := outputOf(t, inMounts(t, script, plugin, append(strings.Fields(arguments), "-w", "0", "--timeout", "5")...))
		if output != want || code != 1 {
			t.Errorf("%s: got %d %s\nwant %s", arguments, code, output, want)
		}
	}
}

func init() { helpers["hoarder"] = hoarder }

// hoarder takes a number, and has as many descriptors of one socket that listens.
func hoarder() {
	rename("hoarder")
	number, err := strconv.Atoi(os.Args[1])
	must(err)
	most := unix.Rlimit{Cur: uint64(number) + 100, Max: uint64(number) + 100}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &most); err != nil { // a container may forbid more
		must(unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
		number = int(most.Max) - 100
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	must(unix.Listen(fd, 1))
	for range number - 1 {
		_, err := unix.Dup(fd)
		must(err)
	}
	fmt.Println(number)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestProcessWithManyDescriptors(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, number := startHelper(t, helper("hoarder", strconv.Itoa(often(5_000, 100_000))))
	t.Logf("with %s descriptors", number)
	startHelper(t, helper("server", "server", "127.0.0.1:0", "keep"))
	for arguments, want := range map[string]string{
		"--by process":           "hoarder: 1, server: 1",
		"--process server":       "tcp LISTEN: 1",
		"-w 1 --process hoarder": "tcp LISTEN: 1",
		"-w tcp_listen=1":        "tcp LISTEN: 2 [WARNING] (hoarder 1)",
	} {
		output, _ := runBy(t, 0, plugin, append(strings.Fields(arguments), "--no-perfdata", "--timeout", "240")...)
		if text := textOf(output); text != want {
			t.Errorf("%s: got %s\nwant %s", arguments, output, want)
		}
	}
}
