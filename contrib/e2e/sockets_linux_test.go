package e2e_test

import (
	"maps"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestEveryStatusIsReached(t *testing.T) {
	if !e2e.OwnNetwork(t) {
		return
	}
	if rows := e2e.NetworkRows(t); len(rows) != 0 {
		t.Fatalf("the namespace already has sockets: %v", rows)
	}
	made := e2e.EveryStatus(t)
	if rows := e2e.NetworkRows(t); !maps.Equal(rows, made) {
		t.Errorf("made  %v\nshown %v", made, rows)
	}
	for _, kind := range []string{"tcp", "tcp6"} {
		for _, status := range []string{
			"CLOSE_WAIT", "CLOSING", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2",
			"LAST_ACK", "LISTEN", "SYN_RECV", "SYN_SENT", "TIME_WAIT",
		} {
			if made[e2e.Group{Type: kind, Status: status}] == 0 {
				t.Errorf("no socket is %s %s", kind, status)
			}
		}
	}
	for _, kind := range []string{"udp", "udp6"} {
		if made[e2e.Group{Type: kind, Status: "NONE"}] < 4 {
			t.Errorf("too few sockets are %s NONE", kind)
		}
	}
}
