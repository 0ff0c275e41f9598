package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	ipHelper            = windows.NewLazySystemDLL("iphlpapi.dll")
	getExtendedTCPTable = ipHelper.NewProc("GetExtendedTcpTable")
	getExtendedUDPTable = ipHelper.NewProc("GetExtendedUdpTable")
)

// What the tables hold: all sockets, with the ids of processes. See
// TCP_TABLE_CLASS and UDP_TABLE_CLASS in iprtrmib.h.
const (
	tcpTableOwnerPIDAll = 5 // TCP_TABLE_OWNER_PID_ALL
	udpTableOwnerPID    = 1 // UDP_TABLE_OWNER_PID
)

// absent stands for what the rows of a table do not have.
const absent = -1

// ipTable is one of the tables of the IP Helper API: the number of its rows in
// 32 bits, then the rows. Their fields are told by where they begin.
type ipTable struct {
	socketType    string
	call          *windows.LazyProc
	family, class uintptr

	row, address                 int // how many bytes a row and an address have
	state, local, remote         int
	localPort, remotePort, owner int
}

// ipTables are MIB_TCPROW_OWNER_PID and MIB_TCP6ROW_OWNER_PID in tcpmib.h,
// MIB_UDPROW_OWNER_PID and MIB_UDP6ROW_OWNER_PID in udpmib.h.
var ipTables = []ipTable{
	{"tcp", getExtendedTCPTable, windows.AF_INET, tcpTableOwnerPIDAll, 24, 4, 0, 4, 12, 8, 16, 20},
	{"tcp6", getExtendedTCPTable, windows.AF_INET6, tcpTableOwnerPIDAll, 56, 16, 48, 0, 24, 20, 44, 52},
	{"udp", getExtendedUDPTable, windows.AF_INET, udpTableOwnerPID, 12, 4, absent, 0, absent, 4, absent, 8},
	{"udp6", getExtendedUDPTable, windows.AF_INET6, udpTableOwnerPID, 28, 16, absent, 0, absent, 20, absent, 24},
}

// tableStatuses are the statuses by their numbers: MIB_TCP_STATE in tcpmib.h.
var tableStatuses = []string{
	1: "CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "CLOSING",
	"LAST_ACK", "TIME_WAIT", "DELETE_TCB",
}

// statusOf returns the status in a row. A number that is not documented gets a
// name of its own, so that no socket is lost over it.
func (t *ipTable) statusOf(record []byte) string {
	if t.state == absent {
		return statusNone
	}
	number := binary.LittleEndian.Uint32(record[t.state:])
	if number > 0 && number < uint32(len(tableStatuses)) {
		return tableStatuses[number]
	}
	return "STATE_" + strconv.FormatUint(uint64(number), 10)
}

// portIn returns the port at a place in a row: its first 16 bits, in network
// order. The others are not to be looked at.
func portIn(record []byte, place int) uint32 {
	if place == absent {
		return 0
	}
	return uint32(binary.BigEndian.Uint16(record[place:]))
}

func (t *ipTable) ownerIn(record []byte) uint32 { return binary.LittleEndian.Uint32(record[t.owner:]) }

// How often a table is asked for at most, and how long to wait in between
// when Windows gives no reason: others have seen five times in a row fail. With
// many sockets each time can take seconds, so that the first one should do. What
// is not used of the buffer costs nothing.
const (
	maxTries   = 20
	tableDelay = 10 * time.Millisecond
	firstSize  = 4 << 20
)

// fetch returns the table. It is asked for again where it has grown meanwhile,
// and after STATUS_UNSUCCESSFUL, which is not documented and comes at random
// while many sockets come and go (https://github.com/giampaolo/psutil/pull/1335).
// IPv6 that is switched off has no table.
func (t *ipTable) fetch(ctx context.Context) (content []byte, err error) {
	if err := t.call.Find(); err != nil {
		return nil, err
	}
	size := uint32(firstSize)
	for range maxTries {
		content = make([]byte, size)
		result, _, _ := t.call.Call(uintptr(unsafe.Pointer(&content[0])), uintptr(unsafe.Pointer(&size)), 0, t.family, t.class, 0)
		switch code := uint32(result); {
		case code == 0:
			return content, nil
		case t.family == windows.AF_INET6 && code == uint32(windows.ERROR_NOT_SUPPORTED):
			return nil, nil
		case code == uint32(windows.ERROR_INSUFFICIENT_BUFFER):
			size = max(size, uint32(len(content)))
			size += size / 4 // it goes on growing
			err = windows.ERROR_INSUFFICIENT_BUFFER
		case code == uint32(windows.STATUS_UNSUCCESSFUL):
			time.Sleep(tableDelay)
			err = windows.STATUS_UNSUCCESSFUL
		default:
			return nil, fmt.Errorf("%s: error %d: %w", t.call.Name, code, syscall.Errno(code))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%s was asked %d times: %w", t.call.Name, maxTries, err)
}

// rows cuts the table into its rows.
func (t *ipTable) rows(content []byte) ([][]byte, error) {
	if content == nil {
		return nil, nil
	}
	number, content := int(binary.LittleEndian.Uint32(content)), content[4:]
	if number > len(content)/t.row {
		return nil, errors.New(t.call.Name + ": the table has fewer rows than it says")
	}
	return slices.Collect(slices.Chunk(content[:number*t.row], t.row)), nil
}
