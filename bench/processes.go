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
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
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

// A shape is a load with all that a caller can choose about it.
type shape struct {
	load
	// processes is the number of processes that hold the sockets; with 0 it
	// follows from their number and is at least 10.
	processes int
	// peers is the number of remote addresses.
	peers int
	// limit ends the load, whatever happens to who made it.
	limit time.Duration
}

// A crowd is the processes that hold a load.
type crowd struct {
	made    time.Time
	holders []*holder
}

// A holder is a process that has its share of the sockets.
type holder struct {
	command *exec.Cmd
	stdin   io.Closer
	stdout  *bufio.Reader
}

// startLoad returns when all the sockets of the shape are there. The calling
// goroutine must stay on its thread until the load is stopped, because the
// holders die with the thread that started them.
func startLoad(s shape) (*crowd, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	held := &crowd{made: time.Now()}
	for _, part := range s.parts() {
		of := s
		of.load = part
		if err := held.add(of); err != nil {
			return nil, errors.Join(err, held.stop())
		}
	}
	return held, nil
}

// add starts the processes for one part of a load and waits for their sockets.
func (c *crowd) add(s shape) error {
	s, err := s.complete()
	if err != nil {
		return err
	}
	k, _ := kindNamed(s.kind)
	connections := s.sockets / k.each
	first := len(c.holders)
	for i := range s.processes {
		from, next := connections*i/s.processes, connections*(i+1)/s.processes
		h, err := s.startHolder(i, from, next-from)
		if err != nil {
			return err
		}
		c.holders = append(c.holders, h)
	}
	for _, h := range c.holders[first:] {
		if line, err := h.stdout.ReadString('\n'); line != "ready\n" {
			return fmt.Errorf("a process of the load failed: %s%w", line, err)
		}
	}
	return nil
}

// complete fills in the number of processes and refuses what this machine
// cannot carry.
func (s shape) complete() (shape, error) {
	if s.peers < 1 || s.peers > 1<<16 {
		return s, fmt.Errorf("%d peers: must be 1 to %d", s.peers, 1<<16)
	}
	if s.sockets == 0 {
		s.processes = 0
		return s, nil
	}
	// Go has raised the soft limit to the hard one when this program started.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return s, err
	}
	most := int(min(limit.Cur, math.MaxInt32)) - otherDescriptors
	switch {
	case s.kind == namespaces:
		s.processes = s.sockets
	case s.processes == 0:
		each := max(2, min(socketsPerProcess, most))
		s.processes = max(10, (s.sockets+each-1)/each)
	}
	if s.processes < 0 || s.sockets/s.processes+2 > most {
		return s, fmt.Errorf("%d sockets in %d processes: a process can hold %d", s.sockets, s.processes, most)
	}
	if need, free := s.sockets*memoryPerSocket, availableMemory(); need > free {
		return s, fmt.Errorf("%d sockets need %d MiB of memory, %d MiB are available", s.sockets, need>>20, free>>20)
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

// startHolder starts the process of a number for some of the connections. It
// gets its listening sockets from here: once the first holders have taken all
// ephemeral ports for their connections, the last ones would find none.
func (s shape) startHolder(number, first, connections int) (*holder, error) {
	c := exec.Command("/proc/self/exe", holdCommand, s.kind,
		strconv.Itoa(first), strconv.Itoa(connections), strconv.Itoa(s.peers), s.limit.String())
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.kind == namespaces {
		c.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	}
	c.Stderr = os.Stderr
	if k, _ := kindNamed(s.kind); k.listens {
		port := 0
		if k.private {
			port = serverPort + number
		}
		files, err := listeners(port, s.peers)
		for _, file := range files {
			defer file.Close()
		}
		if err != nil {
			return nil, err
		}
		c.ExtraFiles = files
	}
	stdin, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &holder{c, stdin, bufio.NewReader(stdout)}, nil
}

// listeners listens on a port, or any with 0, over IPv4 and, with more than
// one peer, IPv6.
func listeners(port, peerCount int) (files []*os.File, err error) {
	networks := []string{"tcp4"}
	if peerCount > 1 {
		networks = append(networks, "tcp6")
	}
	for _, network := range networks {
		listener, err := net.Listen(network, ":"+strconv.Itoa(port))
		if err != nil {
			return files, err
		}
		file, err := listener.(*net.TCPListener).File()
		_ = listener.Close()
		if err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}

// stop closes the sockets and waits for the processes to end. An error says
// that some of them ended earlier, so that the load was not complete.
func (c *crowd) stop() error {
	var failed []error
	for _, h := range c.holders {
		_ = h.stdin.Close()
	}
	for _, h := range c.holders {
		if err := h.command.Wait(); err != nil {
			failed = append(failed, fmt.Errorf("a process of the load: %w", err))
		}
	}
	c.holders = nil
	return errors.Join(failed...)
}

// hold is what a holding process does: it makes its share of the connections,
// says "ready" and keeps them until its standard input ends.
func hold(arguments []string) error {
	if len(arguments) != 5 {
		return fmt.Errorf("%s is not meant to be called by hand", holdCommand)
	}
	limit, err := time.ParseDuration(arguments[4])
	if err != nil {
		return err
	}
	var first, connections, peerCount int
	if _, err := fmt.Sscan(strings.Join(arguments[1:4], " "), &first, &connections, &peerCount); err != nil {
		return err
	}
	k, found := kindNamed(arguments[0])
	if !found || k.connect == nil {
		return fmt.Errorf("no process holds %q", arguments[0])
	}
	time.AfterFunc(limit, func() {
		fmt.Fprintln(os.Stderr, "the load has reached its time limit of", limit)
		os.Exit(1)
	})
	if err := k.connectAll(first, connections, peerCount); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// connectAll makes the connections from number first on over the inherited
// listening sockets, and closes those at the end, so that the sockets of the
// load are all that is left. It works on plain descriptors: nothing is ever
// read or written here, and the net package would add a poller to every socket.
func (k kind) connectAll(first, connections, peerCount int) error {
	s := server{peers: peerCount}
	if k.listens {
		s.listeners = []int{3, 4}[:min(peerCount, 2)]
	}
	for i := first; i < first+connections; i++ {
		if err := k.connect(s, i); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	for _, listener := range s.listeners {
		if err := unix.Close(listener); err != nil {
			return err
		}
	}
	return nil
}
