package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// datagramSize is larger than any datagram of a dump: the kernel fills this size
// less its own overhead (netlink_recvmsg in net/netlink/af_netlink.c).
const datagramSize = 32 << 10

var (
	errNotAsked    = errors.New("the kernel answered something that was not asked")
	errInterrupted = errors.New("the sockets changed while the kernel listed them")
	errCutOff      = errors.New("the kernel sent a message that is cut off")
)

// dialNetlink opens a netlink socket in this network namespace. Reading from it
// gives up when the context ends.
func dialNetlink(ctx context.Context) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if deadline, isSet := ctx.Deadline(); isSet {
		patience := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	return fd, nil
}

// ask sends a request for a dump, and calls the function with the body of each
// message of the answer: a struct nlmsghdr (include/uapi/linux/netlink.h) stands
// in front of it. A body is good until the function returns, as nothing is
// copied. Whatever is not a whole answer to just this request is an error.
func ask(ctx context.Context, fd int, kind uint16, request []byte, do func(body []byte) error) error {
	order, sequence := binary.NativeEndian, rand.Uint32()
	header := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(request)))
	header = order.AppendUint16(order.AppendUint16(header, kind), unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	header = order.AppendUint32(order.AppendUint32(header, sequence), 0)
	if _, err := unix.Write(fd, append(header, request...)); err != nil {
		return err
	}
	buffer := make([]byte, datagramSize)
	for {
		size, err := receive(ctx, fd, buffer)
		if err != nil {
			return err
		}
		for rest := buffer[:size]; len(rest) > 0 || size == 0; {
			if len(rest) < unix.SizeofNlMsghdr {
				return errCutOff
			}
			length := order.Uint32(rest)
			if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(rest)) {
				return errCutOff
			}
			flags, body := order.Uint16(rest[6:]), rest[unix.SizeofNlMsghdr:length]
			isEnd, err := checkMessage(order.Uint16(rest[4:]), kind, flags, body, order.Uint32(rest[8:]) == sequence)
			if err == nil && !isEnd {
				err = do(body)
			}
			if err != nil || isEnd {
				return err
			}
			rest = rest[min(aligned(int(length)), len(rest)):]
		}
	}
}

// checkMessage returns an error unless the message is a socket or the end of the
// dump that was asked for.
func checkMessage(kind, wanted, flags uint16, body []byte, isAnswer bool) (isEnd bool, err error) {
	isEnd = kind == unix.NLMSG_DONE
	switch {
	case !isAnswer:
		return false, errNotAsked
	case isEnd || kind == unix.NLMSG_ERROR: // both begin with an error number, which is negative
		if len(body) < 4 {
			return false, errCutOff
		}
		if number := int32(binary.NativeEndian.Uint32(body)); number != 0 {
			return false, unix.Errno(-number)
		}
	}
	switch {
	case !isEnd && kind != wanted || flags&unix.NLM_F_MULTI == 0:
		return false, errNotAsked
	case flags&unix.NLM_F_DUMP_INTR != 0:
		return false, errInterrupted
	}
	return isEnd, nil
}

// receive waits for the next datagram and returns its size.
func receive(ctx context.Context, fd int, buffer []byte) (size int, err error) {
	for {
		size, err = unix.Read(fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) || ctx.Err() != nil:
			return 0, context.DeadlineExceeded
		case err == nil && size == len(buffer): // no datagram of the kernel is as large, so more may have been cut off
			return 0, errCutOff
		}
		return size, os.NewSyscallError("read", err)
	}
}

// aligned returns where the next message or attribute begins behind one of that
// length (NLMSG_ALIGN in include/uapi/linux/netlink.h).
func aligned(length int) int { return (length + 3) &^ 3 }

// findAttribute returns the content of the attribute of that type among those
// behind a message, nil where it is not there. Each begins with a struct nlattr
// (include/uapi/linux/netlink.h): its length and its type.
func findAttribute(attributes []byte, wanted uint16) ([]byte, error) {
	for rest := attributes; len(rest) > 0; {
		if len(rest) < unix.SizeofNlAttr {
			return nil, errCutOff
		}
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofNlAttr || length > len(rest) {
			return nil, errCutOff
		}
		if binary.NativeEndian.Uint16(rest[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == wanted {
			return rest[unix.SizeofNlAttr:length], nil
		}
		rest = rest[min(aligned(length), len(rest)):]
	}
	return nil, nil
}
