package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel of the tests' own, at the other end of a pair of sockets.

// netlinkMessage is a message that is sent to the kernel, or by it.
type netlinkMessage struct {
	length      uint32 // 0 for the true one
	kind, flags uint16
	sequence    uint32
	body        []byte
}

// bytes returns the message behind its struct nlmsghdr, filled up to a multiple
// of four bytes.
func (m netlinkMessage) bytes() []byte {
	if m.length == 0 {
		m.length = uint32(unix.SizeofNlMsghdr + len(m.body))
	}
	var message []byte
	for _, part := range []any{m.length, m.kind, m.flags, m.sequence, uint32(0), m.body, make([]byte, -len(m.body)&3)} {
		message, _ = binary.Append(message, binary.NativeEndian, part)
	}
	return message
}

func parseRequest(request []byte) netlinkMessage {
	order := binary.NativeEndian
	return netlinkMessage{
		order.Uint32(request), order.Uint16(request[4:]), order.Uint16(request[6:]),
		order.Uint32(request[8:]), request[unix.SizeofNlMsghdr:],
	}
}

// kernel returns the datagrams that answer a request.
type kernel func(request netlinkMessage) [][]byte

// unreachable is a kernel that has no memory for another socket.
var unreachable kernel

// dialing returns a function that dials kernels in turn, one for each request,
// and the last one ever after.
func dialing(t testing.TB, kernels ...kernel) func() (int, error) {
	next := 0
	return func() (int, error) {
		asked := kernels[min(next, len(kernels)-1)]
		next++
		if asked == nil {
			return -1, unix.ENOBUFS
		}
		return dialKernel(t, asked)
	}
}

// dialKernel returns one end of a pair of sockets with the kernel at the other.
func dialKernel(t testing.TB, asked kernel) (int, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(ends[1])
		request := make([]byte, 1<<10)
		size, err := unix.Read(ends[1], request)
		if err != nil || size < unix.SizeofNlMsghdr {
			return
		}
		for _, datagram := range asked(parseRequest(request[:size])) {
			if _, err := unix.Write(ends[1], datagram); err != nil {
				return // nobody reads it
			}
		}
	}()
	t.Cleanup(func() { <-done })
	return ends[0], nil
}

// sends answers with the bodies as one whole dump.
func sends(bodies [][]byte) kernel { return altered(bodies, func([]netlinkMessage) {}) }

// altered answers with the messages of a whole dump as the change leaves them,
// two in each datagram.
func altered(bodies [][]byte, change func([]netlinkMessage)) kernel {
	return func(request netlinkMessage) (datagrams [][]byte) {
		var messages []netlinkMessage
		for _, body := range append(slices.Clone(bodies), make([]byte, 4)) {
			messages = append(messages, netlinkMessage{kind: request.kind, flags: unix.NLM_F_MULTI, sequence: request.sequence, body: body})
		}
		messages[len(bodies)].kind = unix.NLMSG_DONE
		change(messages)
		for pair := range slices.Chunk(messages, 2) {
			var datagram []byte
			for _, message := range pair {
				datagram = append(datagram, message.bytes()...)
			}
			datagrams = append(datagrams, datagram)
		}
		return datagrams
	}
}

// withLast answers with the message before the end of the dump as the change
// leaves it.
func withLast(bodies [][]byte, change func(*netlinkMessage)) kernel {
	return altered(bodies, func(messages []netlinkMessage) { change(&messages[len(bodies)-1]) })
}

// withEnd answers with the end of the dump as the change leaves it.
func withEnd(bodies [][]byte, change func(*netlinkMessage)) kernel {
	return altered(bodies, func(messages []netlinkMessage) { change(&messages[len(bodies)]) })
}

func refuses(number unix.Errno) kernel {
	return func(request netlinkMessage) [][]byte {
		return [][]byte{netlinkMessage{kind: unix.NLMSG_ERROR, sequence: request.sequence, body: errorNumber(number)}.bytes()}
	}
}

// errorNumber returns the number as the kernel sends it.
func errorNumber(number unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, -uint32(number))
}

// kernelMessages returns what a kernel (Linux 6.18, amd64) answered to the dump
// of one type, with sockets in every status that can be made: the bodies of the
// messages, in the byte order of this machine.
func kernelMessages(t testing.TB, recorded string) [][]byte {
	t.Helper()
	file, err := os.Open("testdata/netlink-" + recorded + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var messages [][]byte
	for lines := bufio.NewScanner(file); lines.Scan(); {
		message, err := hex.DecodeString(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, inNativeOrder(message))
	}
	return messages
}

// inNativeOrder turns a message of a little-endian kernel into that of a kernel
// of this machine: all but ports and addresses is in the order of the machine.
// Of a struct tcp_info, and of no other attribute, the content is turned too.
func inNativeOrder(message []byte) []byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return message
	}
	turn := func(from, to, size int) {
		for at := from; at+size <= to; at += size {
			slices.Reverse(message[at : at+size])
		}
	}
	turn(40, sizeofInetDiagMsg, 4) // idiag_if, idiag_cookie, ... idiag_inode
	for at := sizeofInetDiagMsg; at+4 <= len(message); {
		length, attribute := int(binary.LittleEndian.Uint16(message[at:])), binary.LittleEndian.Uint16(message[at+2:])
		turn(at, at+4, 2)
		if attribute == inetDiagInfo {
			turn(at+4+8, at+length, 4) // behind eight single bytes; those of 64 bits nobody reads
		}
		at += (length + 3) &^ 3
	}
	return message
}

// noProcesses is a /proc that has been looked through already, in vain.
func noProcesses(t testing.TB) *host {
	root := procfs(t.TempDir())
	h := &host{procfs: root, holders: holdersUnder(root, debugLog{})}
	h.holders.walks = 2
	return h
}

// askingKernels returns what reads sockets for the tally from kernels that answer
// in turn.
func askingKernels(t testing.TB, proto string, asked *tally, kernels ...kernel) *sockDiag {
	diag := &sockDiag{
		pass:    &pass{host: noProcesses(t), ctx: t.Context(), fields: asked.fields},
		tallies: []*tally{asked},
		types:   []string{proto},
		dial:    dialing(t, kernels...),
	}
	diag.told = func() (totals, error) { return diag.space.totals(diag.host.procfs) }
	return diag
}

// anyKernel is the manner that every kernel understands.
var anyKernel = manners[len(manners)-1]

// holdersUnder looks for the holders of sockets on a recorded host.
func holdersUnder(root procfs, log debugLog) *holders {
	h := &host{procfs: root}
	return newHolders(root, log, h.userText)
}

// hold has a process hold the socket with the inode.
func (h *holders) hold(inode uint32, pid int32, name string) {
	h.first[inode], h.single[pid] = pid, owner{process: name, holders: []holder{{pid, name, "root"}}}
}

// countedBy returns how many sockets each key has when the sockets are read.
func countedBy(t testing.TB, diag *sockDiag, asked *tally) map[string]int {
	t.Helper()
	found := newCounter([]*tally{asked})
	if err := diag.read(found, anyKernel); err != nil {
		t.Fatal(err)
	}
	known := map[string]int{}
	for _, r := range found[0].rows {
		known[strings.ReplaceAll(r.key, keySeparator, " ")] = r.known
	}
	return known
}

// floods answers with as many full datagrams, and notes when it has them ready.
func floods(bodies [][]byte, datagrams int, ready func(sockets int)) kernel {
	return func(request netlinkMessage) [][]byte {
		var datagram []byte
		sockets := 0
		for ; ; sockets++ {
			next := netlinkMessage{kind: request.kind, flags: unix.NLM_F_MULTI, sequence: request.sequence, body: bodies[sockets%len(bodies)]}.bytes()
			if len(datagram)+len(next) >= datagramSize {
				break
			}
			datagram = append(datagram, next...)
		}
		all := slices.Repeat([][]byte{datagram}, datagrams)
		all = append(all, netlinkMessage{kind: unix.NLMSG_DONE, flags: unix.NLM_F_MULTI, sequence: request.sequence, body: make([]byte, 4)}.bytes())
		ready(datagrams * sockets)
		return all
	}
}

// lists answers as a kernel that has the sockets: with those in the states and of
// the family that are asked for.
func lists(sockets ...inetDiagMsg) kernel {
	return func(request netlinkMessage) [][]byte {
		family, states := request.body[0], binary.NativeEndian.Uint32(request.body[4:])
		if request.kind == tcpDiagGetSock {
			family, states = unix.AF_UNSPEC, binary.NativeEndian.Uint32(request.body[52:])
		}
		var bodies [][]byte
		for _, s := range sockets {
			if (family == unix.AF_UNSPEC || family == s.Family) && states&(1<<s.State) != 0 {
				bodies = append(bodies, s.message())
			}
		}
		return sends(bodies)(request)
	}
}
