package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func init() { helpers["silent"] = silentServer }

// silentServer takes a name and an address to listen on, prints the address, and
// accepts nothing.
func silentServer() {
	rename(os.Args[1])
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(fd, 200))
	address, err := unix.Getsockname(fd)
	must(err)
	fmt.Printf("127.0.0.1:%d\n", address.(*unix.SockaddrInet4).Port)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// inUnit has the command run in a control group of version 2, which is at the
// path below a folder that goes with the test.
func inUnit(t *testing.T, folder, path string, command *exec.Cmd) *exec.Cmd {
	t.Helper()
	unit := filepath.Join(folder, path)
	if err := os.MkdirAll(unit, 0o755); err != nil {
		e2e.Skip(t, "no control group of version 2 can be made: "+err.Error())
	}
	command.Args = append([]string{"sh", "-c", fmt.Sprintf(`echo $$ >%q && exec "$0" "$@"`, filepath.Join(unit, "cgroup.procs")), command.Path}, command.Args[1:]...)
	command.Path, command.Err = exec.LookPath("sh")
	return command
}

// unitFolder makes a folder for control groups, which go when the test ends.
func unitFolder(t *testing.T) string {
	t.Helper()
	root := procfs("/proc").newUnits().root
	if root == "" {
		e2e.Skip(t, "control groups of version 2 are not mounted")
	}
	folder := filepath.Join(root, fmt.Sprintf("check_network_connections-%d.slice", os.Getpid()))
	if err := os.Mkdir(folder, 0o755); err != nil {
		e2e.Skip(t, "no control group of version 2 can be made: "+err.Error())
	}
	t.Cleanup(func() { // the kernel lets go of a group a little after its last process
		e2e.WaitFor(t, time.Minute, "the control groups to go", func() bool {
			var folders []string
			_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, _ error) error {
				if entry != nil && entry.IsDir() {
					folders = append([]string{path}, folders...)
				}
				return nil
			})
			for _, each := range folders {
				_ = os.Remove(each)
			}
			_, err := os.Stat(folder)
			return errors.Is(err, os.ErrNotExist)
		})
	})
	return folder
}

func TestUnitsOfRealProcesses(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	folder := unitFolder(t)
	_, web := startHelper(t, inUnit(t, folder, "web.service", helper("server", "nginx", "127.0.0.1:0", "keep")))
	_, hung := startHelper(t, inUnit(t, folder, "docker-"+containerID+".scope", helper("silent", "slowapp")))
	startHelper(t, helper("server", "cat", "127.0.0.1:0", "keep")) // in no unit of ours
	startHelper(t, inUnit(t, folder, "user.slice/user@1000.service/app.slice/curl.service", helper("client", "curl", web, "3", "keep")))
	startHelper(t, helper("client", "ab", hung, "20", "close"))
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 20, {Type: "tcp", Status: "FIN_WAIT2"}: 20, {Type: "tcp", Status: "ESTABLISHED"}: 6})
	const container = "docker-3f2a1bc0d9e8"
	for _, test := range []struct{ arguments, want string }{
		{"--by unit,status", "docker-3f2a1bc0d9e8 CLOSE WAIT: 20, - FIN WAIT2: 20, curl.service ESTABLISHED: 3, web.service ESTABLISHED: 3, - LISTEN: 1, docker-3f2a1bc0d9e8 LISTEN: 1, web.service LISTEN: 1"},
		{"--unit web.service", "tcp ESTABLISHED: 3, tcp LISTEN: 1"},
		{"--unit *.service,not:web.*", "tcp ESTABLISHED: 3"},
		{"--unit docker-??????????e8 --conn-status close_wait", "tcp CLOSE WAIT: 20"},
		{"--unit - --conn-status listen", "tcp LISTEN: 1"},
		{"--by unit,status -w docker-3f2a1bc0d9e8_close_wait=10 --unit docker-*", container + " CLOSE WAIT: 20 [WARNING], " + container + " LISTEN: 1"},
		{"--unit no-such.service -c tcp_listen=1:", "tcp LISTEN: 0 [CRITICAL]"},
	} {
		for _, user := range []uint32{0, nobody} {
			output, _ := runBy(t, user, plugin, append(strings.Fields(test.arguments), "--no-details", "--no-perfdata")...)
			if text := textOf(output); text != test.want {
				t.Errorf("user %d, %s: got  %s\nwant %s", user, test.arguments, output, test.want)
			}
		}
	}
	// A connection that nobody has accepted is the listener's.
	const closeWait = `[WARNING] - tcp CLOSE WAIT: 20 [WARNING] (%s 20)
tcp CLOSE WAIT held by: %s 20 (20 not accepted)
tcp CLOSE WAIT peers: from 127.0.0.1 at %s 20
tcp CLOSE WAIT idle: longest ..., median ..., 20 within the last minute
`
	for user, want := range map[uint32]string{
		0:      fmt.Sprintf(closeWait, "slowapp", "slowapp (root, "+container+")", hung),
		nobody: fmt.Sprintf(closeWait, container, container+" (root)", hung),
	} {
		output, code := runBy(t, user, plugin, "--conn-status", "close_wait", "-w", "10", "--no-perfdata")
		if undated(output) != want || code != 1 {
			t.Errorf("user %d: got %d %s\nwant %s", user, code, output, want)
		}
	}
	for arguments, want := range map[string]string{
		"--by process,status --conn-status close_wait,listen": "slowapp CLOSE WAIT: 20, cat LISTEN: 1, nginx LISTEN: 1, slowapp LISTEN: 1",
		"--process slowapp": "tcp CLOSE WAIT: 20, tcp LISTEN: 1",
		"--process not:slowapp --conn-status close_wait -w total=0": "total: 0",
		"--process slow* --unit " + container + " --direction in":   "tcp CLOSE WAIT: 20",
		"--by user --conn-status close_wait":                        "root: 20",
	} {
		output, _ := runBy(t, 0, plugin, append(strings.Fields(arguments), "--no-details", "--no-perfdata")...)
		if text := textOf(output); text != want {
			t.Errorf("%s: got  %s\nwant %s", arguments, output, want)
		}
	}
}
