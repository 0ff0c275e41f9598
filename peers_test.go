package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/NETWAYS/go-check"
)

func TestPeersThatStandOutAmongMoreThanCanBeKept(t *testing.T) {
	const others = maxPeers + 100
	for _, test := range []struct {
		name   string
		leaked int
		want   string
	}{
		{"one has more sockets than all that are not kept", 2 * maxPeers, fmt.Sprintf("10.0.0.5:5432 %d", 2*maxPeers)},
		{"none has", 50, tooManyPeers},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found made
			for i := range test.leaked + others {
				s := Socket{Proto: "tcp"}
				s.Status, s.Raddr.IP, s.Raddr.Port = "CLOSE_WAIT", "10.0.0.5", 5432
				if i >= test.leaked {
					s.Raddr.IP, s.Raddr.Port = fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255), 443
				}
				found = append(found, &s)
			}
			config := configOf(t, "-w", "0")
			all := []violation{{"tcp CLOSE WAIT", config.Question.tally(config.Levels.by), len(found), check.Warning}}
			lines, err := culprits(func(tallies []*tally) []dump { return found.dumps(t.Context(), tallies) }, all, false)
			if want := "tcp CLOSE WAIT peers: " + test.want; err != nil || !slices.Contains(lines, want) {
				t.Errorf("got  %q, %v\nwant %s", lines, err, want)
			}
		})
	}
}
