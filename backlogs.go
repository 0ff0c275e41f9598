package main

import (
	"fmt"
	stdnet "net"
	"strconv"
	"strings"
)

// backlogs judges how full the queues of listeners are: connections that nobody
// has accepted, and half-open ones. Both hold one more than the backlog that
// listen() was called with (sk_acceptq_is_full in include/net/sock.h).
type backlogs map[uint64]backlogSpace // by network namespace

// backlogSpace is what limits half-open connections besides the backlog.
type backlogSpace struct {
	name    string // of the network namespace, "" where there is only one
	halfMax int    // without syncookies: three quarters of net.ipv4.tcp_max_syn_backlog; 0 for no such limit
}

func (backlogs) row() limitRow { return limitBacklog }

func (backlogs) tally() *tally {
	return &tally{
		includes: func(socketType, status string) bool {
			return !isUDP(socketType) && (status == "LISTEN" || status == "SYN_RECV")
		},
		fields: fieldLocalAddress | fieldLocalPort | fieldNetns | fieldDirection | fieldQueues,
		asks: func(s *socket) answer {
			return sure(s.Status == "LISTEN" || s.Status == "SYN_RECV" && s.direction == directionIn)
		},
		key: func(to []byte, s *socket) []byte {
			to = append(strconv.AppendUint(to, s.netnsID, 10), keySeparator...)
			to = append(append(to, s.proto...), keySeparator...)
			to = append(append(to, queueAddress(s)...), keySeparator...)
			to = append(byLocalPort.append(to, s), keySeparator...)
			if s.Status == "SYN_RECV" {
				return to
			}
			to = append(strconv.AppendUint(to, uint64(s.queue), 10), keySeparator...)
			return strconv.AppendUint(to, uint64(s.backlog), 10)
		},
	}
}

// queueAddress returns the address of the listener that the socket is, or whose
// queue it is in.
func queueAddress(s *socket) string {
	isAny := s.direction == directionIn && s.listener == "" || isAnyAddress(s.Laddr.IP)
	switch {
	case isAny && s.proto == "tcp6": // ::ffff:0.0.0.0 as well
		return "::"
	case isAny:
		return "0.0.0.0"
	}
	return s.Laddr.IP
}

// queue is one of the queues of a listener.
type queue struct {
	isHalfOpen bool
	used, size int
	id         uint64 // of the network namespace
	socketType string
	address    string
	port       string
}

// figure returns the fullest queue.
func (b backlogs) figure(found *counts) figure {
	fullest := queue{size: 1}
	for _, each := range b.queues(found) {
		ours, theirs := each.used*fullest.size, fullest.used*each.size
		isBefore := fullest.port == "" || each.address+":"+each.port < fullest.address+":"+fullest.port
		if ours > theirs || ours == theirs && isBefore {
			fullest = each
		}
	}
	if fullest.port == "" {
		return figure{name: limitBacklog.title, label: limitBacklog.label, unit: "%", max: 100, text: limitBacklog.title + ": 0%, nothing listens"}
	}
	kind := limitBacklog
	if fullest.isHalfOpen {
		kind.title = "half-open connections"
	}
	subject := fmt.Sprintf("%d at %s", fullest.size, stdnet.JoinHostPort(fullest.address, fullest.port))
	if name := b[fullest.id].name; name != "" {
		subject += " in " + cleanName(name)
	}
	one := kind.percentage(float64(fullest.used), float64(fullest.size), subject)
	one.sockets, one.users, one.isNameOnly = 1, fullest.tally(), true
	return one
}

// tally counts the listener and the connections in its queues.
func (q queue) tally() *tally {
	return &tally{
		includes: func(socketType, status string) bool {
			return socketType == q.socketType && (status == "LISTEN" || status == "SYN_RECV" || status == "ESTABLISHED" || status == "CLOSE_WAIT")
		},
		fields: fieldLocalAddress | fieldLocalPort | fieldNetns | fieldDirection,
		asks: func(s *socket) answer {
			isHere := s.netnsID == q.id && s.proto == q.socketType && strconv.Itoa(int(s.Laddr.Port)) == q.port && queueAddress(s) == q.address
			return sure(isHere && (s.Status == "LISTEN" || s.isWaiting))
		},
	}
}

// queues returns the queues of all listeners. Which of several listeners on one
// port (SO_REUSEPORT) a half-open connection is of, nobody tells: they have them
// together.
func (b backlogs) queues(found *counts) (all []queue) {
	halfOpen := map[string]*queue{} // by where they listen
	for _, r := range found.rows {
		values := strings.Split(r.key, keySeparator)
		if len(values) < 6 {
			continue
		}
		one := queue{socketType: values[1], address: values[2], port: values[3]}
		one.id, _ = strconv.ParseUint(values[0], 10, 64)
		one.used, _ = strconv.Atoi(values[4])
		one.size, _ = strconv.Atoi(values[5])
		one.size++
		all = append(all, one)
		where := strings.Join(values[:4], keySeparator) + keySeparator
		if halfOpen[where] == nil {
			half := one
			half.isHalfOpen, half.used, half.size = true, 0, 0
			halfOpen[where] = &half
		}
		limited := one.size
		if most := b[one.id].halfMax; most > 0 {
			limited = min(limited, most)
		}
		halfOpen[where].size += limited * r.known
	}
	for _, r := range found.rows {
		if half := halfOpen[r.key]; half != nil {
			half.used = r.known
			all = append(all, *half)
		}
	}
	return all
}
