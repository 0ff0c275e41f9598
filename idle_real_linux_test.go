package main

import (
	stdnet "net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// infoOf returns what the kernel knows of a connection.
func infoOf(t *testing.T, connection stdnet.Conn) *unix.TCPInfo {
	t.Helper()
	raw, err := connection.(*stdnet.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	var fault error
	err = raw.Control(func(fd uintptr) { info, fault = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || fault != nil {
		t.Fatal(err, fault)
	}
	return info
}

// Answers to keepalive probes are no data, on neither end, also of a connection
// that is half closed.
func TestConnectionsThatOnlyProbeAreIdle(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	probing := stdnet.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 100}
	var probers []stdnet.Conn
	for i := range 5 {
		client, err := stdnet.Dial("tcp4", listening.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := listening.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if i < 2 { // a leak
			if err := client.(*stdnet.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			client = server
		}
		if err := client.(*stdnet.TCPConn).SetKeepAliveConfig(probing); err != nil {
			t.Fatal(err)
		}
		probers = append(probers, client)
	}
	const patience = 1500 * time.Millisecond // without data; the kernel has whole milliseconds
	e2e.WaitFor(t, time.Minute, "an answer to a probe of each", func() bool {
		for _, each := range probers {
			info := infoOf(t, each)
			data := min(info.Last_data_sent, info.Last_data_recv)
			if time.Duration(data)*time.Millisecond < patience || info.Last_ack_recv+500 > data {
				return false
			}
		}
		return true
	})
	for arguments, want := range map[string]string{
		"--min-idle 1500ms":                            "tcp ESTABLISHED: 6, tcp CLOSE WAIT: 2, tcp FIN WAIT2: 2",
		"--min-idle 1.5 --conn-status close_wait -w 1": "tcp CLOSE WAIT: 2 [WARNING]",
	} {
		output, _ := runBy(t, nobody, plugin, append(strings.Fields(arguments), "--no-perfdata", "--no-details")...)
		if text := textOf(output); text != want {
			t.Errorf("%s: got %s\nwant %s", arguments, output, want)
		}
	}
}
