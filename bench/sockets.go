//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// serverPort is the first port of a server, where it is not ephemeral.
	serverPort = 443
	// firstClientPort and firstEphemeral begin the ports of clients: that of
	// any system, and that of this one in a new network namespace.
	firstClientPort = 1024
	firstEphemeral  = 32768
)

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

// keepTimeWait tells the network namespace of the calling thread to keep as
// many sockets in TIME_WAIT as are made, and not to use their ports again.
func keepTimeWait() error {
	for name, value := range map[string]string{"tcp_max_tw_buckets": "1000000", "tcp_tw_reuse": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

// A server is what a process of a load makes connections with.
type server struct {
	// listeners are an IPv4 socket and, with more than one peer, an IPv6 one.
	listeners []int
	peers     int
}

// establish leaves both ends of a connection open.
func (s server) establish(number int) error {
	_, _, err := s.connect(number, true)
	return err
}

// leaveTimeWait leaves the client's end in TIME_WAIT, as a proxy that closes
// its connections to the servers behind it.
func (s server) leaveTimeWait(number int) error {
	client, accepted, err := s.connect(number, false)
	if err != nil {
		return err
	}
	if err := finish(client, accepted); err != nil {
		return err
	}
	if err := unix.Close(accepted); err != nil {
		return err
	}
	return unix.Close(client)
}

// leaveCloseWait leaves the server's end in CLOSE_WAIT and nothing of the
// client's: in repair mode a socket goes without a word to its peer.
func (s server) leaveCloseWait(number int) error {
	client, accepted, err := s.connect(number, true)
	if err != nil {
		return err
	}
	if err := finish(client, accepted); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return err
	}
	return unix.Close(client)
}

// halfOutgoing makes every second connection an outgoing one: from one of
// 28,000 ephemeral ports to a port 443 or the next. The others are incoming.
func (s server) halfOutgoing(number int) error {
	const distinct = 28_000
	if number%2 == 1 {
		return s.incoming(number / 2)
	}
	number /= 2
	from, to := route(number, s.peers)
	return oneEnd(withPort(from, firstEphemeral+number%distinct), withPort(to, serverPort+number/distinct))
}

// incoming makes the server's end of a connection and no client's end. It is
// on port 443 or, where IPv6 has used up the ports of the client, the next.
func (s server) incoming(number int) error {
	const distinct = 60_000
	from, to := route(number, s.peers)
	above := 0
	if _, ok := from.(*unix.SockaddrInet6); ok {
		above = number / 2 / distinct
	}
	return oneEnd(withPort(to, serverPort+above), withPort(from, firstClientPort+number/2%distinct))
}

// listen makes a listening socket on some port.
func (s server) listen(int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Listen(socket, 1)
}

// route returns the addresses of the client and the server of a connection,
// still without ports. From two peers on, every second connection is IPv6 and
// goes to ::1, the others go to addresses of 127.0.0.0/8 in turn.
func route(number, peerCount int) (from, to unix.Sockaddr) {
	if peerCount > 1 && number%2 == 1 {
		loopback6 := [16]byte{15: 1}
		return &unix.SockaddrInet6{Addr: loopback6}, &unix.SockaddrInet6{Addr: loopback6}
	}
	// One of the peers is ::1, unless there is only one.
	peer := number / 2 % max(1, peerCount-1)
	address := [4]byte{127, 1, byte(peer >> 8), byte(peer)}
	return &unix.SockaddrInet4{Addr: address}, &unix.SockaddrInet4{Addr: address}
}

// withPort sets the port of an address.
func withPort(address unix.Sockaddr, port int) unix.Sockaddr {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		a.Port = port
	case *unix.SockaddrInet6:
		a.Port = port
	}
	return address
}

// portOf returns the port of an address, and the place of its family among the
// listeners.
func portOf(address unix.Sockaddr) (port, place int) {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return a.Port, 0
	case *unix.SockaddrInet6:
		return a.Port, 1
	}
	return 0, 0
}

// family returns the family of an address for socket.
func family(address unix.Sockaddr) int {
	if _, ok := address.(*unix.SockaddrInet6); ok {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// connect makes a connection to one of the listeners and returns both ends.
// With reset they are reset when they are closed, instead of lingering in
// TIME_WAIT for a minute.
func (s server) connect(number int, reset bool) (client, accepted int, err error) {
	from, to := route(number, s.peers)
	_, place := portOf(to)
	listener := s.listeners[place]
	address, err := unix.Getsockname(listener)
	if err != nil {
		return 0, 0, err
	}
	port, _ := portOf(address)
	if client, err = unix.Socket(family(to), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	// Without this option bind would choose the port, one for each socket on
	// the address. This way connect does, and a port serves once for each peer.
	if err := unix.SetsockoptInt(client, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return 0, 0, err
	}
	if err := unix.Bind(client, from); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(client, withPort(to, port)); err != nil {
		return 0, 0, err
	}
	if accepted, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, err
	}
	if reset {
		err = errors.Join(resetOnClose(client), resetOnClose(accepted))
	}
	return client, accepted, err
}

func resetOnClose(socket int) error {
	return unix.SetsockoptLinger(socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// finish ends a connection at the client's end and returns when each end knows
// what the other does: FIN_WAIT2 and CLOSE_WAIT.
func finish(client, accepted int) error {
	const finWait2 = 5
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		return err
	}
	// The server hears that nothing more comes, and answers at once instead of
	// waiting 40 ms for something to send with it.
	if _, err := unix.Read(accepted, make([]byte, 1)); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(accepted, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return err
	}
	for {
		info, err := unix.GetsockoptTCPInfo(client, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State == finWait2 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// oneEnd makes an established socket whose peer does not exist: in repair mode
// connect asks nobody. Nothing is sent, neither now nor when it is closed.
func oneEnd(local, remote unix.Sockaddr) error {
	socket, err := unix.Socket(family(local), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return err
	}
	if err := unix.Bind(socket, local); err != nil {
		return err
	}
	return unix.Connect(socket, remote)
}
