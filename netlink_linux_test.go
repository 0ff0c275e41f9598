package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func TestDumpThatFailsIsNeverCountedInPart(t *testing.T) {
	bodies := kernelMessages(t, "tcp")
	whole, all := sends(bodies), len(bodies)
	const notAsked = "the kernel answered something that was not asked"
	const cutOff = "the kernel sent a message that is cut off"
	const interrupted = "the sockets changed while the kernel listed them"
	for _, test := range []struct {
		name    string
		kernels []kernel
		found   int
		message string
	}{
		{"whole", []kernel{whole}, all, ""},
		{"no sockets", []kernel{sends(nil)}, 0, ""},
		{"whole at the second attempt", []kernel{unreachable, whole}, all, ""},
		{"whole at the last attempt", []kernel{unreachable, withLast(bodies, func(m *netlinkMessage) { m.sequence++ }), whole}, all, ""},
		{"unreachable each time", []kernel{unreachable}, 0, "no buffer space available"},
		{"no answer", []kernel{func(netlinkMessage) [][]byte { return nil }}, 0, cutOff},
		{"not known to the kernel", []kernel{refuses(unix.ENOENT)}, 0, "no such file or directory"},
		{"not allowed", []kernel{refuses(unix.EPERM)}, 0, "operation not permitted"},
		{"an error in the last message", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind, m.body = unix.NLMSG_ERROR, errorNumber(unix.ENOMEM) })}, 0, "cannot allocate memory"},
		{"a success in place of a socket", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind, m.body = unix.NLMSG_ERROR, errorNumber(0) })}, 0, notAsked},
		{"an error that is cut off", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind, m.body = unix.NLMSG_ERROR, errorNumber(unix.EPERM)[:2] })}, 0, cutOff},
		{"an overrun", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind = unix.NLMSG_OVERRUN })}, 0, notAsked},
		{"no operation", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind = unix.NLMSG_NOOP })}, 0, notAsked},
		{"the end without a dump", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.flags = 0 })}, 0, notAsked},
		{"nothing in a message", []kernel{withLast(bodies, func(m *netlinkMessage) { m.body = nil })}, 0, "the kernel sent 0 bytes for a socket, 72 are the least"},
		{"another type of message", []kernel{withLast(bodies, func(m *netlinkMessage) { m.kind = 16 })}, 0, notAsked},
		{"the answer to another request", []kernel{withLast(bodies, func(m *netlinkMessage) { m.sequence++ })}, 0, notAsked},
		{"no dump", []kernel{withLast(bodies, func(m *netlinkMessage) { m.flags = 0 })}, 0, notAsked},
		{"a dump that changed meanwhile", []kernel{withLast(bodies, func(m *netlinkMessage) { m.flags |= unix.NLM_F_DUMP_INTR })}, 0, interrupted},
		{"an error at the end", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.body = errorNumber(unix.ENOMEM) })}, 0, "cannot allocate memory"},
		{"an end that says nothing", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.body = nil })}, 0, cutOff},
		{"no end", []kernel{altered(bodies, func(messages []netlinkMessage) { messages[all].kind, messages[all].body = messages[0].kind, bodies[0] })}, 0, cutOff},
		{"the end of another dump", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.sequence-- })}, 0, notAsked},
		{"changed up to the end", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.flags |= unix.NLM_F_DUMP_INTR })}, 0, interrupted},
		{"more announced than sent", []kernel{withEnd(bodies, func(m *netlinkMessage) { m.length = 1 << 31 })}, 0, cutOff},
		{"less announced than a header", []kernel{withLast(bodies, func(m *netlinkMessage) { m.length = 15 })}, 0, cutOff},
		{"more in a datagram than can be", []kernel{withLast(bodies, func(m *netlinkMessage) { m.body = make([]byte, datagramSize) })}, 0, cutOff},
		{"a short message", []kernel{withLast(bodies, func(m *netlinkMessage) { m.body = m.body[:71] })}, 0, "the kernel sent 71 bytes for a socket, 72 are the least"},
		{"a socket of another family", []kernel{withLast(bodies, func(m *netlinkMessage) { m.body = kernelMessages(t, "tcp6")[0] })}, 0, "the kernel sent a socket of family 10 in state 10, which was not asked for"},
	} {
		t.Run(test.name, func(t *testing.T) {
			everything := (&question{}).tally(grouping{byType})
			diag := askingKernels(t, "tcp", everything, test.kernels...)
			d := dump{name: "tcp", sources: []source{diag.source(manners[1]), diag.source(manners[2]), diag.source(manners[3])}}
			d.sources = append(d.sources, source{sourceGopsutil, func(counter) error { return errors.New("no /proc") }})
			result, err := count([]dump{d}, everything)
			if test.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				if known, _ := result.counts[0].sum(); known != test.found {
					t.Errorf("got %d sockets, want %d", known, test.found)
				}
				return
			}
			want := "the tcp sockets cannot be read: netlink: " + test.message + "; gopsutil: no /proc"
			if err == nil || err.Error() != want || result.counts != nil {
				t.Errorf("got  %v, %v\nwant %s", result.counts, err, want)
			}
		})
	}
}

// askAnything returns the error of asking the kernel over the socket.
func askAnything(ctx context.Context, fd int) error {
	return ask(ctx, fd, unix.SOCK_DIAG_BY_FAMILY, make([]byte, sizeofInetDiagReqV2), func([]byte) error { return nil })
}

func TestWaitingForTheKernelEndsAtTheDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	fd, err := dialNetlink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // whatever arrives is lost
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop}); err != nil {
		t.Fatal(err)
	}
	if err := askAnything(ctx, fd); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// The kernel itself says that it has lost a message.
func TestLostMessageIsAnError(t *testing.T) {
	if !e2e.OwnNetwork(t) {
		return
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(control)
	loopback, err := unix.NewIfreq("lo")
	if err := errors.Join(err,
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the least that there is
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}),
	); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		loopback.SetUint16([]uint16{0, unix.IFF_UP}[i%2])
		if err := unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, loopback); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := receive(t.Context(), fd, make([]byte, datagramSize)); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("got %v", err)
	}
}

// FuzzDatagram splits datagrams and compares with the standard library.
func FuzzDatagram(f *testing.F) {
	request := netlinkMessage{kind: unix.SOCK_DIAG_BY_FAMILY, sequence: 1}
	for _, asked := range []kernel{sends(kernelMessages(f, "udp6")), refuses(unix.EPERM), sends(nil)} {
		for _, datagram := range asked(request) {
			f.Add(datagram)
			f.Add(datagram[:len(datagram)-1])
			f.Add(slices.Concat(datagram, datagram[:15]))
		}
	}
	for _, garbage := range []string{"", "X", strings.Repeat("\x00", 88), strings.Repeat("\xff", 88)} {
		f.Add([]byte(garbage))
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if len(datagram) >= datagramSize {
			return
		}
		want, fault := syscall.ParseNetlinkMessage(datagram)
		wantsAll := true
		var bodies [][]byte
		for _, message := range want { // up to the end of the dump
			isEnd := message.Header.Type == unix.NLMSG_DONE && bytes.HasPrefix(message.Data, make([]byte, 4))
			wantsAll = wantsAll && message.Header.Seq == 1 && message.Header.Flags&(unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR) == unix.NLM_F_MULTI
			if isEnd {
				break
			}
			wantsAll = wantsAll && message.Header.Type == unix.SOCK_DIAG_BY_FAMILY
			bodies = append(bodies, message.Data)
		}
		hasEnd := len(bodies) < len(want)
		var sequence atomic.Uint32
		fd, err := dialKernel(t, func(request netlinkMessage) [][]byte {
			sequence.Store(request.sequence)
			return [][]byte{withSequence(datagram, request.sequence)}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		var got [][]byte
		err = ask(t.Context(), fd, unix.SOCK_DIAG_BY_FAMILY, nil, func(body []byte) error {
			got = append(got, slices.Clone(body))
			return nil
		})
		switch {
		case fault != nil: // maybe behind the end
		case err == nil && (!hasEnd || !slices.EqualFunc(got, bodies, bytes.Equal)):
			t.Errorf("got %d messages as a whole answer, want %d, the end is there: %t", len(got), len(bodies), hasEnd)
		case err != nil && wantsAll && hasEnd:
			t.Errorf("got %v", err)
		}
	})
}

// withSequence gives all messages with the sequence number 1 another one.
func withSequence(datagram []byte, sequence uint32) []byte {
	patched := slices.Clone(datagram)
	for rest := patched; len(rest) >= unix.SizeofNlMsghdr; {
		order := binary.NativeEndian
		if number := order.Uint32(rest[8:]); number == 1 {
			order.PutUint32(rest[8:], sequence)
		} else if number == sequence {
			order.PutUint32(rest[8:], 1)
		}
		length := int(order.Uint32(rest))
		if length < unix.SizeofNlMsghdr || length > len(rest) {
			break
		}
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return patched
}

func TestAttributeIsFoundAmongOthers(t *testing.T) {
	attribute := func(number uint16, content string) []byte {
		order := binary.NativeEndian
		all := order.AppendUint16(order.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(content))), number)
		return append(append(all, content...), make([]byte, -len(content)&3)...)
	}
	short := attribute(5, "abcd")
	for _, test := range []struct {
		name       string
		attributes []byte
		content    string
		err        error
	}{
		{"none", nil, "", nil},
		{"alone", attribute(2, "found"), "found", nil},
		{"behind others", slices.Concat(attribute(1, "x"), attribute(7, "1234567"), attribute(2, "found")), "found", nil},
		{"the first of two", slices.Concat(attribute(2, "found"), attribute(2, "other")), "found", nil},
		{"marked as nested", attribute(2|unix.NLA_F_NESTED, "found"), "found", nil},
		{"not there", attribute(3, "other"), "", nil},
		{"without what fills it up", slices.Concat(attribute(2, "found"))[:9], "found", nil},
		{"half a header", []byte{4, 0, 2}, "", errCutOff},
		{"longer than what is there", short[:6], "", errCutOff},
		{"shorter than its header", []byte{3, 0, 2, 0}, "", errCutOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 && test.err != nil {
				t.Skip("written for little-endian machines")
			}
			content, err := findAttribute(test.attributes, 2)
			if string(content) != test.content || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v", content, err)
			}
		})
	}
}

// descriptors returns how many descriptors this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSocketsToTheKernelAreClosed(t *testing.T) {
	everything := (&question{}).tally(nil)
	earlier := descriptors(t)
	for _, asked := range []kernel{sends(kernelMessages(t, "tcp")), refuses(unix.EPERM), unreachable} {
		t.Run("", func(t *testing.T) {
			_ = askingKernels(t, "tcp", everything, asked).read(newCounter([]*tally{everything}), anyKernel)
		})
	}
	if now := descriptors(t); now > earlier {
		t.Errorf("%d are open, %d were", now, earlier)
	}
}
