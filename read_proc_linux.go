package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// procReader reads the sockets of some types in a network namespace from the
// files /proc/net/tcp, tcp6, udp and udp6, a line for each, for use where netlink
// is not available. They tell all that netlink tells but units, idle times, queues
// and sockets that are only bound. It needs the rights that netlink needs.
type procReader struct {
	*pass
	space   namespace
	tallies []*tally
	types   []string         // of one protocol
	order   binary.ByteOrder // of the kernel's words
	resolver
}

// onlyNetlink is what the files leave out.
const onlyNetlink = fieldIdle | fieldUnit | fieldBound | fieldQueues

// read counts the sockets while the kernel lists them.
func (r *procReader) read(to counter) error {
	if err := r.needsNetlink(); err != nil {
		return err
	}
	r.resolver = newResolver(r.pass)
	return r.whole(func() error {
		for _, socketType := range r.types {
			if err := r.readFile(to, socketType); err != nil {
				return err
			}
		}
		return nil
	}, "proc: %v", r.types)
}

// needsNetlink returns an error where something is asked for that only netlink
// tells.
func (r *procReader) needsNetlink() error {
	switch asked := r.fields & onlyNetlink; {
	case asked&fieldIdle != 0:
		return errors.New("idle times need netlink")
	case asked&fieldUnit != 0:
		return errors.New("units need netlink")
	case asked != 0:
		return errors.New("ephemeral ports and accept queues need netlink: name the other limits instead (conntrack, orphans, memory, files)")
	}
	return nil
}

// readFile counts the sockets in a file. Whatever is wrong with it is told with
// its path.
func (r *procReader) readFile(to counter, socketType string) error {
	file, err := r.open(socketType)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	if err := r.readLines(to, socketType, bufio.NewReaderSize(file, 32<<10)); err != nil {
		return fmt.Errorf("%s: %w", r.file(socketType), cause(err))
	}
	return nil
}

func (r *procReader) file(socketType string) string {
	return filepath.Join(string(r.procfs), "thread-self/net", socketType)
}

// open returns a file in the network namespace, which stays that of the namespace
// on every thread. There is none where IPv6 is switched off: then its files are not
// there, but that of IPv4 is.
func (r *procReader) open(socketType string) (file *os.File, err error) {
	err = r.space.within(func() (err error) {
		if file, err = os.Open(r.file(socketType)); !errors.Is(err, unix.ENOENT) || familyOf(socketType) != unix.AF_INET6 {
			return err
		}
		if _, fault := os.Stat(r.file("tcp")); fault == nil {
			return nil
		}
		return err
	})
	return file, err
}

// readLines counts the sockets of the lines.
func (r *procReader) readLines(to counter, socketType string, lines *bufio.Reader) error {
	var s socket
	var from procRow
	states, areListeners := statesFor(socketType, r.tallies), true
	for number := 1; ; number++ {
		line, err := lines.ReadSlice('\n')
		if number%1000 == 1 && err == nil {
			err = r.ctx.Err()
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) > 0:
			return fmt.Errorf("it ends in the middle of line %d", number)
		case errors.Is(err, io.EOF) && number == 1:
			return errors.New("it is empty: the kernel's list begins with a heading")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case number == 1 && !bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("sl ")):
			return errors.New("it has no heading, so this is not the kernel's list")
		case number == 1:
			continue
		case !from.parse(line, familyOf(socketType), r.order):
			return fmt.Errorf("line %d is not that of a socket: %s", number, quote(string(bytes.TrimSpace(line))))
		}
		r.sockets++
		s.proto, s.Family, s.Type, s.Status = socketType, uint32(familyOf(socketType)), sockStream, tcpStates[from.state]
		s.Laddr.Port, s.Raddr.Port, s.idle = from.localPort, from.remotePort, -1 // the files do not tell idle times
		if isUDP(socketType) {
			s.Type, s.Status = sockDgram, statusNone
		} else {
			// Before Linux 4.4 half-open connections stood behind their listener.
			areListeners = areListeners && (s.Status == "LISTEN" || s.Status == "SYN_RECV")
			if s.Status == "LISTEN" && !areListeners {
				return fmt.Errorf("line %d is out of order: what listens is not listed first", number)
			}
			if states&(1<<from.state) == 0 {
				continue // resolving costs more than all the rest
			}
		}
		s.netns, s.netnsID = r.space.name, r.space.inode
		isLate := r.resolve(&s, kernelSocket{from.local[:], from.remote[:], from.user, from.inode, nothing})
		r.count(to, &s, from.inode, isLate)
	}
}

// procRow is a line of the files: get_tcp4_sock in net/ipv4/tcp_ipv4.c,
// get_tcp6_sock in net/ipv6/tcp_ipv6.c, and their likes for UDP.
//
//	0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 …
//
// That is the number of the line, both ends, the state, the queues, the timer,
// retransmissions, the user, timeouts, the inode and more. All that has a
// leading zero here is hexadecimal.
type procRow struct {
	local, remote         [16]byte
	localPort, remotePort uint32
	state                 uint64
	user, inode           uint32
}

// parse reads a line. It allocates nothing.
func (r *procRow) parse(line []byte, family uint8, order binary.ByteOrder) bool {
	var columns [10][]byte
	for i := range columns {
		line = bytes.TrimLeft(line, " ")
		end := bytes.IndexByte(line, ' ')
		if end < 0 {
			return false
		}
		columns[i], line = line[:end], line[end:]
	}
	var isLocal, isRemote bool
	r.localPort, isLocal = parseProcEnd(&r.local, columns[1], family, order)
	r.remotePort, isRemote = parseProcEnd(&r.remote, columns[2], family, order)
	state, err1 := strconv.ParseUint(string(columns[3]), 16, 8)
	user, err2 := strconv.ParseInt(string(columns[7]), 10, 64) // old kernels print large ones below 0
	inode, err3 := strconv.ParseUint(string(columns[9]), 10, 64)
	r.state, r.user, r.inode = state, uint32(user), uint32(inode)
	isState := state > 0 && state < uint64(len(tcpStates))
	return bytes.HasSuffix(columns[0], []byte(":")) && isLocal && isRemote && isState && errors.Join(err1, err2, err3) == nil
}

// parseProcEnd reads an address with its port. The kernel prints an address in
// words of 32 bits, as a processor of its byte order reads them from memory.
func parseProcEnd(address *[16]byte, text []byte, family uint8, order binary.ByteOrder) (port uint32, ok bool) {
	size := 4
	if family == unix.AF_INET6 {
		size = 16
	}
	if len(text) != 2*size+len(":0000") || text[2*size] != ':' {
		return 0, false
	}
	for at := 0; at < size; at += 4 {
		word, err := strconv.ParseUint(string(text[2*at:2*at+8]), 16, 32)
		if err != nil {
			return 0, false
		}
		order.PutUint32(address[at:], uint32(word))
	}
	number, err := strconv.ParseUint(string(text[2*size+1:]), 16, 16)
	return uint32(number), err == nil
}
