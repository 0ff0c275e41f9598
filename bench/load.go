//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSockets is the largest load that can be asked for.
	maxSockets = 1_000_000
	// socketsPerProcess is how many sockets a process holds when nothing else
	// is asked for, unless its descriptor limit is lower.
	socketsPerProcess = 10_000
	// otherDescriptors is what a holding process has open besides the sockets.
	otherDescriptors = 32
	// memoryPerSocket is what one established socket costs: some 4 KiB in the
	// kernel, and room for those who list it.
	memoryPerSocket = 6 << 10
	// holdCommand makes this executable one of the holding processes.
	holdCommand = "hold"
)

// Shape says what a load looks like.
type Shape struct {
	// Sockets is the number of established sockets. Both ends of a connection
	// count, so it is even.
	Sockets int
	// Processes is the number of processes that hold them; with 0 it follows
	// from Sockets and is at least 10.
	Processes int
	// Peers is the number of remote addresses. From two on, every second
	// connection is IPv6 and goes to ::1, the others go to addresses of
	// 127.0.0.0/8 in turn.
	Peers int
	// Limit ends the load, whatever happens to who made it.
	Limit time.Duration
}

// Load is a number of established connections from this machine to itself.
type Load struct {
	Shape
	holders []*holder
}

// A holder is a process that has both ends of its connections.
type holder struct {
	command *exec.Cmd
	stdin   io.Closer
	stdout  *bufio.Reader
}

// ownNamespace moves the calling goroutine, and the processes that it starts,
// to a new network namespace with only a loopback interface. What happens
// there disturbs nobody, nobody disturbs it, and all of it is gone with the
// last process. It needs root.
func ownNamespace() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace of its own: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback)
}

// startLoad returns when all the sockets of the shape are established. The
// calling goroutine must stay on its thread until the load is stopped, because
// the holders die with the thread that started them.
func startLoad(shape Shape) (*Load, error) {
	shape, err := shape.complete()
	if err != nil {
		return nil, err
	}
	load := &Load{Shape: shape}
	connections := shape.Sockets / 2
	for i := range shape.Processes {
		first, next := connections*i/shape.Processes, connections*(i+1)/shape.Processes
		holder, err := startHolder(first, next-first, shape.Peers, shape.Limit)
		if err != nil {
			return nil, errors.Join(err, load.stop())
		}
		load.holders = append(load.holders, holder)
	}
	for _, holder := range load.holders {
		if line, err := holder.stdout.ReadString('\n'); line != "ready\n" {
			return nil, errors.Join(fmt.Errorf("a process of the load failed: %s%w", line, err), load.stop())
		}
	}
	return load, nil
}

// complete fills in the number of processes and refuses what this machine
// cannot carry.
func (s Shape) complete() (Shape, error) {
	if s.Sockets < 0 || s.Sockets > maxSockets || s.Sockets%2 != 0 {
		return s, fmt.Errorf("%d sockets: must be an even number up to %d", s.Sockets, maxSockets)
	}
	if s.Peers < 1 || s.Peers > 1<<16 {
		return s, fmt.Errorf("%d peers: must be 1 to %d", s.Peers, 1<<16)
	}
	if s.Sockets == 0 {
		s.Processes = 0
		return s, nil
	}
	// Go has raised the soft limit to the hard one when this program started.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return s, err
	}
	most := int(min(limit.Cur, math.MaxInt32)) - otherDescriptors
	if s.Processes == 0 {
		each := max(2, min(socketsPerProcess, most))
		s.Processes = max(10, (s.Sockets+each-1)/each)
	}
	if s.Processes < 0 || s.Sockets/s.Processes+2 > most {
		return s, fmt.Errorf("%d sockets in %d processes: a process can hold %d", s.Sockets, s.Processes, most)
	}
	if need, free := s.Sockets*memoryPerSocket, availableMemory(); need > free {
		return s, fmt.Errorf("%d sockets need %d MiB of memory, %d MiB are available", s.Sockets, need>>20, free>>20)
	}
	return s, nil
}

// availableMemory returns the number of bytes that the kernel can hand out
// without swapping.
func availableMemory() int {
	content, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, "MemAvailable:"); found {
			kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return kib << 10
		}
	}
	return 0
}

// startHolder starts a process for some of the connections. It gets its listening
// sockets from here: once the first holders have taken all ephemeral ports for
// their connections, the last ones would find none to listen on.
func startHolder(first, connections, peers int, limit time.Duration) (*holder, error) {
	command := exec.Command("/proc/self/exe", holdCommand,
		strconv.Itoa(first), strconv.Itoa(connections), strconv.Itoa(peers), limit.String())
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Stderr = os.Stderr
	networks := []string{"tcp4"}
	if peers > 1 {
		networks = append(networks, "tcp6")
	}
	for _, network := range networks {
		listener, err := net.Listen(network, ":0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		file, err := listener.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		command.ExtraFiles = append(command.ExtraFiles, file)
	}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	return &holder{command, stdin, bufio.NewReader(stdout)}, nil
}

// stop closes the connections and waits for the processes to end. An error
// says that some of them ended earlier, so that the load was not complete.
func (l *Load) stop() error {
	var failed []error
	for _, holder := range l.holders {
		_ = holder.stdin.Close()
	}
	for _, holder := range l.holders {
		if err := holder.command.Wait(); err != nil {
			failed = append(failed, fmt.Errorf("a process of the load: %w", err))
		}
	}
	l.holders = nil
	return errors.Join(failed...)
}

// hold is what a holding process does: it makes its share of the connections,
// says "ready" and keeps them until its standard input ends.
func hold(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("%s is not meant to be called by hand", holdCommand)
	}
	limit, err := time.ParseDuration(arguments[3])
	if err != nil {
		return err
	}
	var numbers [3]int
	for i := range numbers {
		if numbers[i], err = strconv.Atoi(arguments[i]); err != nil {
			return err
		}
	}
	time.AfterFunc(limit, func() {
		fmt.Fprintln(os.Stderr, "the load has reached its time limit of", limit)
		os.Exit(1)
	})
	if err := connectAll(numbers[0], numbers[1], numbers[2]); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// connectAll makes the connections from number first on over the inherited
// listening sockets, and closes those at the end, so that established sockets
// are all that is left. It works on plain descriptors: nothing is ever read or
// written here, and the net package would add a poller to every socket.
func connectAll(first, connections, peers int) error {
	const listener4, listener6 = 3, 4
	port4, err := listeningPort(listener4)
	if err != nil {
		return err
	}
	defer unix.Close(listener4)
	var port6 int
	if peers > 1 {
		if port6, err = listeningPort(listener6); err != nil {
			return err
		}
		defer unix.Close(listener6)
	}
	loopback6 := [16]byte{15: 1}
	for i := first; i < first+connections; i++ {
		if peers > 1 && i%2 == 1 {
			err = connect(listener6, unix.AF_INET6, &unix.SockaddrInet6{Addr: loopback6}, &unix.SockaddrInet6{Addr: loopback6, Port: port6})
		} else {
			// One of the peers is ::1, unless there is only one.
			number := i / 2 % max(1, peers-1)
			address := [4]byte{127, 1, byte(number >> 8), byte(number)}
			err = connect(listener4, unix.AF_INET, &unix.SockaddrInet4{Addr: address}, &unix.SockaddrInet4{Addr: address, Port: port4})
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// listeningPort returns the port of a listening socket and prepares it: what
// is accepted from it is reset when it is closed, instead of lingering in
// TIME_WAIT for a minute.
func listeningPort(listener int) (int, error) {
	if err := resetOnClose(listener); err != nil {
		return 0, err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return 0, err
	}
	switch address := address.(type) {
	case *unix.SockaddrInet4:
		return address.Port, nil
	case *unix.SockaddrInet6:
		return address.Port, nil
	}
	return 0, errors.New("not a listening socket")
}

func resetOnClose(socket int) error {
	return unix.SetsockoptLinger(socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// connect makes a connection between two addresses of this machine and leaves
// both ends open.
func connect(listener, family int, from, to unix.Sockaddr) error {
	socket, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := resetOnClose(socket); err != nil {
		return err
	}
	// Without this option bind would choose the port, one for each socket on
	// the address. This way connect does, and a port serves once for each peer.
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(socket, from); err != nil {
		return err
	}
	if err := unix.Connect(socket, to); err != nil {
		return err
	}
	_, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	return err
}
