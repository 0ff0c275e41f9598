package main

import (
	"encoding/binary"
	"errors"
	"iter"
	"os"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// messageBufferSize is more than the kernel puts into one datagram of a dump: so
// much less its own overhead (netlink_recvmsg in net/netlink/af_netlink.c).
const messageBufferSize = 32 << 10

var (
	errNotAsked    = errors.New("the kernel answered something that was not asked")
	errInterrupted = errors.New("the sockets changed while the kernel listed them")
	errCutOff      = errors.New("the kernel sent a message that is cut off")
)

// ask sends the request for a dump and yields the bodies of the messages up
// to the end of it. A body is good until the next one is asked for: nothing is
// copied, which netlink.Conn.ReceiveIter does with every datagram. Whatever is
// not a whole answer to just this request ends in an error.
func ask(conn *netlink.Conn, request netlink.Message) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		sent, err := conn.Send(request)
		if err != nil {
			yield(nil, err)
			return
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			yield(nil, err)
			return
		}
		receive := receiver(raw)
		for {
			datagram, err := receive()
			for first := true; err == nil && (first || len(datagram) > 0); first = false {
				var next message
				next, datagram, err = splitMessage(datagram)
				if err == nil {
					err = next.fault(sent.Header.Sequence)
				}
				if err == nil && (next.kind == netlink.Done || !yield(next.body, nil)) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// receiver returns a function that waits for the next datagram and returns it,
// always in the same buffer.
func receiver(raw syscall.RawConn) func() ([]byte, error) {
	buffer := make([]byte, messageBufferSize)
	var size int
	var failure error
	read := func(fd uintptr) bool {
		for {
			size, failure = unix.Read(int(fd), buffer)
			if !errors.Is(failure, unix.EINTR) {
				return !errors.Is(failure, unix.EAGAIN)
			}
		}
	}
	return func() ([]byte, error) {
		err := raw.Read(read)
		switch {
		case err != nil:
			return nil, err
		case failure != nil:
			return nil, os.NewSyscallError("read", failure)
		case size == len(buffer): // no datagram of the kernel is as large, so more may have been cut off
			return nil, errCutOff
		}
		return buffer[:size], nil
	}
}

// message is a struct nlmsghdr of include/uapi/linux/netlink.h and what is
// behind it.
type message struct {
	kind     netlink.HeaderType
	flags    netlink.HeaderFlags
	sequence uint32
	body     []byte
}

// splitMessage returns the first message of a datagram, and the rest.
func splitMessage(datagram []byte) (first message, rest []byte, err error) {
	if len(datagram) < unix.SizeofNlMsghdr {
		return message{}, nil, errCutOff
	}
	length := binary.NativeEndian.Uint32(datagram)
	if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(datagram)) {
		return message{}, nil, errCutOff
	}
	first = message{
		kind:     netlink.HeaderType(binary.NativeEndian.Uint16(datagram[4:])),
		flags:    netlink.HeaderFlags(binary.NativeEndian.Uint16(datagram[6:])),
		sequence: binary.NativeEndian.Uint32(datagram[8:]),
		body:     datagram[unix.SizeofNlMsghdr:length],
	}
	return first, datagram[min(aligned(int(length)), len(datagram)):], nil
}

// aligned returns where the next message or attribute begins behind one of that
// length (NLMSG_ALIGN in include/uapi/linux/netlink.h).
func aligned(length int) int { return (length + 3) &^ 3 }

// fault returns an error unless the message is a socket or the end of the dump
// that was asked for with this sequence number.
func (m message) fault(sequence uint32) error {
	switch {
	case m.sequence != sequence:
		return errNotAsked
	case m.kind == netlink.Error || m.kind == netlink.Done:
		// Both begin with an error number, which is negative.
		if len(m.body) < 4 {
			return errCutOff
		}
		if number := int32(binary.NativeEndian.Uint32(m.body)); number != 0 {
			return syscall.Errno(-number)
		}
		if m.kind == netlink.Error {
			return errNotAsked
		}
	case m.kind != unix.SOCK_DIAG_BY_FAMILY:
		return errNotAsked
	}
	switch {
	case m.flags&netlink.Multi == 0:
		return errNotAsked
	case m.flags&netlink.DumpInterrupted != 0:
		return errInterrupted
	}
	return nil
}
