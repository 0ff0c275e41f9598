package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// The recording is of five sockets of nobody: one that listens, and two
// connections. One of these has had traffic half a second ago, the other one
// three and a half seconds ago.
func TestOwnersAndIdleTimesInKernelMessages(t *testing.T) {
	tests := []struct {
		name   string
		idle   time.Duration
		inodes []int32
	}{
		{"not asked for", 0, []int32{20846021, 20846025, 20846023, 20846022, 20846024}},
		{"half a second", 504 * time.Millisecond, []int32{20846025, 20846023, 20846022, 20846024}},
		{"a little longer", 505 * time.Millisecond, []int32{20846025, 20846024}},
		{"three and a half seconds", 3504 * time.Millisecond, []int32{20846025, 20846024}},
		{"longer than any", 3505 * time.Millisecond, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bodies := kernelMessages(t, "idle")
			d := mustDump(t, "tcp")
			if d.idle = test.idle; d.idle > 0 {
				bodies = bodies[1:] // a socket that listens is not asked for then
			}
			diag := answers(sockets(bodies))
			diag.needs = needs{process: true, user: true}
			diag.holders = &holders{ctx: t.Context(), pids: map[uint32]int32{}}
			diag.holders.once.Do(func() { // processes with the inodes for numbers
				for _, inode := range tests[0].inodes {
					diag.holders.pids[uint32(inode)] = inode
				}
			})
			var inodes []int32
			for record, err := range diag.records(d) {
				if err != nil {
					t.Fatal(err)
				}
				inodes = append(inodes, record.Pid)
				if !slices.Equal(record.Uids, []int32{nobody}) {
					t.Errorf("got users %v", record.Uids)
				}
			}
			if !slices.Equal(inodes, test.inodes) {
				t.Errorf("got  %v\nwant %v", inodes, test.inodes)
			}
		})
	}
}

// readFrom counts what netlink tells over connections that have been prepared,
// and has nothing else to fall back on.
func readFrom(t *testing.T, timeout time.Duration, prepare func(*netlink.Conn) error) (Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	diag := &sockDiag{dial: func() (*netlink.Conn, error) {
		conn, err := dialSockDiag(ctx, namespace{})
		if err == nil {
			err = prepare(conn)
		}
		return conn, err
	}}
	one := part{name: "tcp"}
	for range attempts {
		one.sources = append(one.sources, source{sourceNetlink, diag.records(mustDump(t, "tcp"))})
	}
	return countParts(one)
}

func TestAKernelThatNeverAnswersIsNotTakenForOneWithoutSockets(t *testing.T) {
	started := time.Now()
	reading, err := readFrom(t, 300*time.Millisecond, func(conn *netlink.Conn) error {
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		var failure error
		err = raw.Control(func(fd uintptr) {
			drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // whatever arrives is lost
			failure = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		})
		return errors.Join(err, failure)
	})
	if !errors.Is(err, context.DeadlineExceeded) || reading.Groups != nil {
		t.Errorf("got %v, %v", reading, err)
	}
	if took := time.Since(started); took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestGarbageFromNetlinkIsNotCounted(t *testing.T) {
	e2e.NeedRoot(t) // to send in place of the kernel
	liar, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(liar)
	message := func(length uint32, kind, flags uint16, body int) []byte {
		// struct nlmsghdr: length, type, flags, sequence and port
		order := binary.NativeEndian
		header := order.AppendUint16(order.AppendUint16(order.AppendUint32(nil, length), kind), flags)
		return append(order.AppendUint32(order.AppendUint32(header, 1), 0), make([]byte, body)...)
	}
	for name, garbage := range map[string][]byte{
		"nothing at all":              nil,
		"one byte":                    {88},
		"half a header":               message(16, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 0)[:8],
		"more announced than there":   message(1<<20, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 72),
		"less announced than header":  message(15, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 72),
		"nothing in it":               message(16, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 0),
		"zeros":                       make([]byte, 88),
		"all bits set":                []byte(strings.Repeat("\xff", 88)),
		"half a socket":               message(16+36, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 36),
		"success without an answer":   message(16+20, unix.NLMSG_ERROR, 0, 20),
		"an error that is cut off":    message(16+2, unix.NLMSG_ERROR, 0, 2),
		"the end that is no end":      message(16, unix.NLMSG_DONE, 0, 0),
		"nothing but a no-operation":  message(16, unix.NLMSG_NOOP, 0, 0),
		"an overrun as the kernel's":  message(16, unix.NLMSG_OVERRUN, 0, 0),
		"a socket of unknown request": message(16+72, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 72),
	} {
		t.Run(name, func(t *testing.T) {
			reading, err := readFrom(t, 2*time.Second, func(conn *netlink.Conn) error {
				return unix.Sendto(liar, garbage, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: conn.PID()})
			})
			if err == nil || reading.Groups != nil {
				t.Errorf("got %v, %v", reading, err)
			}
		})
	}
}

func init() { helpers["without-netlink"] = withoutNetlink }

// auditArchitectures are the numbers by which the kernel tells a filter of
// system calls on which processor it is.
var auditArchitectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// withoutNetlink takes an error number and a command, and runs the command
// where the system call that makes a socket of AF_NETLINK fails with that error.
func withoutNetlink() {
	number, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = forbidNetlink(syscall.Errno(number))
	}
	if err == nil {
		err = syscall.Exec(os.Args[2], os.Args[2:], nil)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// forbidNetlink sets up the filter for this thread and what it executes.
func forbidNetlink(number syscall.Errno) error {
	runtime.LockOSThread()
	// What a filter sees is a struct seccomp_data, see linux/seccomp.h: the
	// number of the call, the processor, the instruction, the arguments.
	const offsetNumber, offsetProcessor, offsetArgument = 0, 4, 16
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skipUnless := func(value uint32, count uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: count}
	}
	end := func(verdict uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
	}
	filter := []unix.SockFilter{
		load(offsetProcessor), skipUnless(auditArchitectures[runtime.GOARCH], 5),
		load(offsetNumber), skipUnless(unix.SYS_SOCKET, 3),
		load(offsetArgument), skipUnless(unix.AF_NETLINK, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(number)),
		end(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

func TestWithoutNetlinkTheOtherSourceServesAndIsNamed(t *testing.T) {
	if auditArchitectures[runtime.GOARCH] == 0 {
		e2e.Skip(t, "the filter of system calls is written for amd64 and arm64")
	}
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := heldSockets(t)
	for _, number := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT, unix.ENOSYS} {
		without := func(arguments ...string) (text, note string, code int) {
			output, code := outputOf(t, helper("without-netlink", append([]string{strconv.Itoa(int(number)), plugin}, arguments...)...))
			first, note, _ := strings.Cut(strings.TrimSuffix(output, "\n"), "\n")
			_, text, _ = strings.Cut(first, "] - ")
			text, _, _ = strings.Cut(text, "|")
			return text, note, code
		}
		t.Run(number.Error(), func(t *testing.T) {
			if text, note, code := without(); text != whole || note != "not all was read from netlink: gopsutil leaves out sockets that look alike (--verbose says why)" || code != 0 {
				t.Errorf("got %d %s\n%s", code, text, note)
			}
			_, note, code := without("--verbose")
			start := fmt.Sprintf("%d sockets counted, read from gopsutil in ", numberOfHeldSockets)
			var reasons []string
			for _, socketType := range socketTypes {
				reasons = append(reasons, "netlink "+socketType+": socket: "+number.Error())
			}
			if !strings.HasPrefix(note, start) || !strings.HasSuffix(note, " ms ("+strings.Join(reasons, "; ")+")") || code != 0 {
				t.Errorf("got %d %s", code, note)
			}
			text, note, code := without("-c", "tcp_established=5")
			holder := fmt.Sprintf("tcp ESTABLISHED held by: %s[%d] (root) 6\n", filepath.Base(os.Args[0]), os.Getpid())
			if !strings.HasPrefix(text, "tcp ESTABLISHED: 6 [CRITICAL]") || !strings.HasPrefix(note, holder) || code != 2 {
				t.Errorf("got %d %s\n%s\nwant %s", code, text, note, holder)
			}
			for _, arguments := range []string{"--source netlink", "--min-idle 1h"} {
				text, note, code := without(strings.Fields(arguments)...)
				if text != "the tcp sockets cannot be read: netlink: socket: "+number.Error() || note != "" || code != 3 {
					t.Errorf("%s: got %d %s\n%s", arguments, code, text, note)
				}
			}
			if text, _, code := without("--netns", "all"); !strings.Contains(text, " cannot be read: netlink: ") || code != 3 {
				t.Errorf("other network namespaces: got %d %s", code, text)
			}
		})
	}
}

func TestAnOutputThatDoesNotArriveIsUnknown(t *testing.T) {
	recording := []string{"--test", "testdata/small-server.json"}
	for name, arguments := range map[string][]string{
		"OK":            recording,
		"WARNING":       append(slices.Clone(recording), "-w", "0"),
		"CRITICAL":      append(slices.Clone(recording), "-c", "0"),
		"always OK":     append(slices.Clone(recording), "-c", "0", "--always-ok"),
		"live":          nil,
		"bad arguments": {"--nonsense"},
		"help":          {"--help"},
		"version":       {"--version"},
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
			t.Run(name+", "+output.name, func(t *testing.T) {
				command := program()
				command.Args = slices.Concat([]string{"sh", "-c", `exec "$@" ` + output.redirection, "sh"}, command.Args, arguments)
				command.Path, command.Err = exec.LookPath("sh")
				want := map[string]int{"WARNING": 1, "CRITICAL": 2, "bad arguments": 3, "help": 3, "version": 3}[name]
				if output.fails {
					want = 3
				}
				if printed, code := outputOf(t, command); code != want || printed != "" {
					t.Errorf("got %d %s", code, printed)
				}
			})
		}
		t.Run(name+", nobody reads it", func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			_ = reader.Close()
			command := program(arguments...)
			command.Stdout = writer
			_ = command.Run()
			if code := command.ProcessState.ExitCode(); code != 3 {
				t.Errorf("got %d (%s)", code, command.ProcessState)
			}
		})
	}
}

func TestAnOutputThatNobodyTakesDoesNotHoldUpTheCheck(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	size, err := unix.FcntlInt(writer.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	command := program("--timeout", "1")
	command.Stdout = writer
	started := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	emergency := time.AfterFunc(10*time.Second, func() { _ = command.Process.Kill() })
	defer emergency.Stop()
	_ = command.Wait()
	if code, took := command.ProcessState.ExitCode(), time.Since(started); code != 3 || took > 5*time.Second {
		t.Errorf("got %d (%s) after %s", code, command.ProcessState, took)
	}
}

func TestASignalEndsAStuckReadingAtOnce(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "util-linux mount", "unshare", "mount")
	plugin := e2e.Plugin(t)
	for signal, name := range map[syscall.Signal]string{unix.SIGTERM: "terminated", unix.SIGHUP: "hangup", unix.SIGINT: "interrupt"} {
		t.Run(name, func(t *testing.T) {
			// In a mount namespace of its own /proc/net/tcp is a pipe into which
			// nobody writes.
			proc := t.TempDir()
			pipe := filepath.Join(proc, "net", "tcp")
			if err := os.Mkdir(filepath.Dir(pipe), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(pipe, 0o644); err != nil {
				t.Fatal(err)
			}
			command := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$1" /proc && exec "$2" --source gopsutil`, "sh", proc, plugin)
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var stdout, stderr strings.Builder
			command.Stdout, command.Stderr = &stdout, &stderr
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			emergency := time.AfterFunc(20*time.Second, func() { _ = command.Process.Kill() })
			defer emergency.Stop()
			e2e.WaitFor(t, 10*time.Second, "the program to read", func() bool {
				writer, err := unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err != nil {
					return false
				}
				t.Cleanup(func() { _ = unix.Close(writer) })
				return true
			})
			time.Sleep(100 * time.Millisecond)
			started := time.Now()
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait()
			if took := time.Since(started); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			if want := "[UNKNOWN] - Received signal: " + name + "\n"; stdout.String() != want || stderr.Len() > 0 || command.ProcessState.ExitCode() != 3 {
				t.Errorf("got %s %q %q\nwant %q", command.ProcessState, stdout.String(), stderr.String(), want)
			}
			if err := unix.Kill(-command.Process.Pid, 0); err != unix.ESRCH {
				t.Errorf("it left a process behind: %v", err)
			}
		})
	}
}

func TestThousandsOfRunsLeaveNothingBehind(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := heldSockets(t)
	folder := t.TempDir() // all that the runs have to write into
	// Who loses its parent becomes a child of this process, and can be found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	before, descriptors := e2e.NetworkRows(t), openDescriptors(t)

	type kind struct {
		arguments string
		code      int
		text      string
		each      int // of how many runs it is one
	}
	kinds := []kind{
		{"--by user", 0, fmt.Sprintf("root: %d", numberOfHeldSockets), 50},
		{"-c tcp_established=5", 2, "tcp ESTABLISHED: 6 [CRITICAL], ", 20},
		{"--source gopsutil", 0, whole, 101},
		{"--by netns,type --conn-type udp", 0, filepath.Base(os.Args[0]) + " udp: 1", 203},
		{"--nonsense", 3, `unknown flag "--nonsense"`, 507},
		{"", 0, whole, 1},
	}
	runOnce := func(number int) error {
		kind := kinds[slices.IndexFunc(kinds, func(k kind) bool { return number%k.each == 0 })]
		command := exec.Command(plugin, strings.Fields(kind.arguments)...)
		command.Dir = folder
		command.Env = []string{"HOME=" + folder, "TMPDIR=" + folder}
		output, _ := command.CombinedOutput()
		_, text, _ := strings.Cut(string(output), "] - ")
		if code := command.ProcessState.ExitCode(); code != kind.code || !strings.HasPrefix(text, kind.text) {
			return fmt.Errorf("run %d, %s: got %s %q", number, kind.arguments, command.ProcessState, output)
		}
		return nil
	}
	for _, test := range []struct {
		name           string
		runs, together int
	}{
		{"10,000 in a row", 10_000, 1},
		{"200 at a time", 4_000, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			started := time.Now()
			numbers := make(chan int)
			var workers sync.WaitGroup
			for range test.together {
				workers.Add(1)
				go func() {
					defer workers.Done()
					for number := range numbers {
						if err := runOnce(number); err != nil {
							t.Error(err)
						}
					}
				}()
			}
			for number := range test.runs {
				if t.Failed() {
					break
				}
				numbers <- number
			}
			close(numbers)
			workers.Wait()
			t.Logf("%d runs took %s", test.runs, time.Since(started))

			if files, err := os.ReadDir(folder); err != nil || len(files) > 0 {
				t.Errorf("files were left behind: %v, %v", files, err)
			}
			if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
				t.Errorf("processes were left behind: %v", err)
			}
			if now := openDescriptors(t); now > descriptors+1 { // one for what waits for processes
				t.Errorf("%d descriptors are open, %d were", now, descriptors)
			}
			if after := e2e.NetworkRows(t); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("sockets were left behind: %v, before %v", after, before)
			}
		})
	}
}

// openDescriptors returns how many descriptors this process has open.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
