package main

import (
	"fmt"
	stdnet "net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func init() {
	helpers["activator"], helpers["activated"], helpers["own-table"], helpers["unprivileged"] = activator, activated, ownTable, unprivileged
}

// activator listens, and starts a server that accepts on the same socket. It
// prints the address, as the other one does.
func activator() {
	rename("systemd")
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	must(err)
	file, err := listening.(*stdnet.TCPListener).File()
	must(err)
	child := helper("activated")
	child.ExtraFiles, child.Stdout, child.Stderr = []*os.File{file}, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose death the signal is for
	must(child.Start())
	must(child.Wait())
}

func activated() {
	rename("sshd")
	listening, err := stdnet.FileListener(os.NewFile(3, "listener"))
	must(err)
	fmt.Println(listening.Addr())
	for {
		connection, err := listening.Accept()
		must(err)
		kept = append(kept, connection)
	}
}

func TestSocketOfSeveralProgramsIsOfEach(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, address := startHelper(t, helper("activator"))
	startHelper(t, helper("client", "ssh", address, "3", "keep"))
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "ESTABLISHED"}: 6})
	e2e.WaitFor(t, time.Minute, "all to be accepted", func() bool {
		output, _ := runBy(t, 0, plugin, "--process", "sshd", "--conn-status", "established", "--no-perfdata")
		return output == "[OK] - tcp ESTABLISHED: 3\n"
	})
	for arguments, want := range map[string]string{
		"--by process,status": "ssh ESTABLISHED: 3, sshd ESTABLISHED: 3, sshd+systemd LISTEN: 1",
		"--process sshd":      "tcp ESTABLISHED: 3, tcp LISTEN: 1",
		"--process sshd --conn-status listen -c total=1:": "tcp LISTEN: 1, total: 1",
		"--process systemd":                            "tcp LISTEN: 1",
		"--process not:systemd":                        "tcp ESTABLISHED: 6",
		"--by process,status -w sshd+systemd_listen=0": "sshd+systemd LISTEN: 1 [WARNING], ssh ESTABLISHED: 3, sshd ESTABLISHED: 3",
	} {
		output, _ := runBy(t, 0, plugin, append(strings.Fields(arguments), "--no-perfdata", "--no-details")...)
		if text := textOf(output); text != want {
			t.Errorf("%s: got %s\nwant %s", arguments, output, want)
		}
	}
	output, _ := runBy(t, 0, plugin, "--conn-status", "listen", "-w", "0", "--no-perfdata")
	if !strings.HasPrefix(output, "[WARNING] - tcp LISTEN: 1 [WARNING] (sshd+systemd 1)\ntcp LISTEN held by: sshd+systemd (root) 1 in 2 processes: ") {
		t.Errorf("culprits: got %s", output)
	}
}

// ownTable listens in a thread that does not share its descriptors.
func ownTable() {
	rename("threads")
	runtime.LockOSThread()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				return err
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Listen(fd, 1) // on any port
		}()
		for { // the thread stays
			_, _ = unix.Poll(nil, 1<<30)
		}
	}()
	must(<-done)
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestThreadWithDescriptorsOfItsOwnIsLookedInto(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	startHelper(t, helper("own-table"))
	if output, _ := runBy(t, 0, plugin, "--process", "threads", "--no-perfdata"); output != "[OK] - tcp LISTEN: 1\n" {
		t.Errorf("got %s", output)
	}
}

// unprivileged listens as root and gives its rights up.
func unprivileged() {
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:80")
	must(err)
	must(syscall.Setgid(nobody))
	must(syscall.Setuid(nobody))
	fmt.Println(listening.Addr())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestProgramIsShownWithTheUserThatItRunsAs(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	process, _ := startHelper(t, helper("unprivileged"))
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(comm))
	if full, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", process.Pid)); err == nil && len(name) == maxComm {
		name = full[strings.LastIndex(full, "/")+1:]
	}
	output, _ := runBy(t, 0, plugin, "-w", "0", "--no-perfdata")
	want := fmt.Sprintf("[WARNING] - tcp LISTEN: 1 [WARNING] (%s 1)\ntcp LISTEN held by: %[1]s (nobody) 1\n", name)
	if output != want {
		t.Errorf("got %s\nwant %s", output, want)
	}
	for _, user := range []uint32{0, nobody} { // but who made it is somebody else
		if output, _ := runBy(t, user, plugin, "--by", "user", "--no-perfdata"); output != "[OK] - root: 1\n" {
			t.Errorf("user %d: got %s", user, output)
		}
	}
}

func TestDirectionNeedsNoRights(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, address := startHelper(t, helper("server", "server", "127.0.0.1:0", "keep"))
	startHelper(t, helper("client", "client", address, "4", "keep"))
	startHelper(t, helper("client", "leaver", address, "2", "close"))
	datagrams, err := stdnet.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	solver, err := stdnet.Dial("udp4", datagrams.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer solver.Close()
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 2, {Type: "tcp", Status: "ESTABLISHED"}: 8, {Type: "tcp", Status: "FIN_WAIT2"}: 2})
	for arguments, want := range map[string]string{
		"--by direction":                         "out: 7, in: 6, -: 1, listen: 1",
		"--by type,direction":                    "tcp in: 6, tcp out: 6, tcp listen: 1, udp -: 1, udp out: 1",
		"--direction in":                         "tcp ESTABLISHED: 4, tcp CLOSE WAIT: 2",
		"--direction out,listen --conn-type tcp": "tcp ESTABLISHED: 4, tcp FIN WAIT2: 2, tcp LISTEN: 1",
		"--direction not:out,not:in":             "tcp LISTEN: 1, udp NONE: 1",
		"--direction -":                          "udp NONE: 1",
		"--by direction,status --conn-status established -w in_established=3": "in ESTABLISHED: 4 [WARNING], out ESTABLISHED: 4",
	} {
		for _, user := range []uint32{0, nobody} {
			output, _ := runBy(t, user, plugin, append(strings.Fields(arguments), "--no-perfdata", "--no-details")...)
			if text := textOf(output); text != want {
				t.Errorf("user %d, %s: got %s\nwant %s", user, arguments, output, want)
			}
		}
	}
}
