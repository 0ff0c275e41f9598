package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func FuzzSocketMessage(f *testing.F) {
	for _, proto := range socketTypes {
		for _, message := range kernelMessages(f, proto) {
			f.Add(message, isUDP(proto), message[0] == unix.AF_INET6)
		}
	}
	for _, message := range kernelMessages(f, "tcp")[:3] {
		message = message[:sizeofInetDiagMsg]
		for _, length := range []int{0, 44, 60, 248} { // of a struct tcp_info
			info := binary.NativeEndian.AppendUint16(nil, uint16(4+length))
			info = append(binary.NativeEndian.AppendUint16(info, inetDiagInfo), bytes.Repeat([]byte{1, 2, 3, 4}, length/4)...)
			f.Add(slices.Concat(message, info), false, false)
			f.Add(slices.Concat(message, []byte{5, 0, 8, 0, 1, 0, 0, 0}, info), false, false)
		}
		f.Add(slices.Concat(message, []byte{3, 0, inetDiagInfo, 0}), false, false)
	}
	f.Add([]byte{}, false, false)
	f.Add([]byte{2}, true, false)
	f.Fuzz(func(t *testing.T, message []byte, isDatagram, isIPv6 bool) {
		if len(message) > datagramSize/2 {
			return
		}
		proto := map[[2]bool]string{{false, false}: "tcp", {false, true}: "tcp6", {true, false}: "udp", {true, true}: "udp6"}[[2]bool{isDatagram, isIPv6}]
		everything := (&question{}).tally(dimensions[:8]) // up to the peer's port
		diag := askingKernels(t, proto, everything, sends([][]byte{message, message}))
		var want inetDiagMsg
		_ = binary.Read(bytes.NewReader(message), binary.NativeEndian, &want)
		diag.holders.hold(want.Inode, 4711, "holder")
		found := newCounter([]*tally{everything})
		if err := diag.read(found, anyKernel); err != nil {
			return
		}
		if len(found[0].rows) != 1 || found[0].rows[0].known != 2 {
			t.Fatalf("one socket twice is %v", found[0].rows)
		}
		values := strings.Split(found[0].rows[0].key, keySeparator)
		if values[0] != proto || isDatagram != (values[1] == statusNone) || !slices.Contains(statuses, values[1]) {
			t.Errorf("taken for %s %s", values[0], values[1])
		}
		port := func(offset int) string { return fmt.Sprint(binary.BigEndian.Uint16(message[offset:])) }
		texts := []string{"holder", "", want.address(want.Local), port(4), want.address(want.Remote), port(6)}
		if want.Inode == 0 {
			texts[0], texts[1] = nothing, nothing
		} else {
			texts[1] = values[3] // the names of users are those of this host
		}
		if port(6) == "0" {
			texts[4], texts[5] = nothing, nothing
		}
		if !slices.Equal(values[2:], texts) {
			t.Errorf("got %q, want %q", values[2:], texts)
		}
	})
}

// FuzzIdleTime reads the attributes behind a socket.
func FuzzIdleTime(f *testing.F) {
	for _, message := range kernelMessages(f, "idle") {
		f.Add(message[sizeofInetDiagMsg:])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, attributes []byte) {
		got, err := idleTime(attributes)
		want, isThere, wantsAll := expectedIdleTime(attributes)
		switch {
		case wantsAll && err != nil:
			t.Errorf("got %v", err)
		case err == nil && !isThere && got >= 0:
			t.Errorf("idle for %s without a struct tcp_info", got)
		case err == nil && isThere && got != want:
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// expectedIdleTime walks the attributes to the struct tcp_info and returns how
// long the connection was idle, whether the struct is there, and whether all of
// the attributes are whole.
func expectedIdleTime(attributes []byte) (idle time.Duration, isThere, wantsAll bool) {
	for len(attributes) > 0 {
		if len(attributes) < 4 {
			return idle, isThere, false
		}
		length := int(binary.NativeEndian.Uint16(attributes))
		if length < 4 || length > len(attributes) {
			return idle, isThere, false
		}
		if number := binary.NativeEndian.Uint16(attributes[2:]) & 0x3fff; number == 2 && !isThere {
			info := attributes[4:length]
			if len(info) < 56 {
				return 0, false, false
			}
			least := uint32(math.MaxUint32)
			for _, offset := range []int{44, 52} { // last_data_sent, last_data_recv
				least = min(least, binary.NativeEndian.Uint32(info[offset:]))
			}
			idle, isThere = time.Duration(least)*time.Millisecond, true
		}
		attributes = attributes[min(len(attributes), (length+3)&^3):]
	}
	return idle, isThere, true
}
