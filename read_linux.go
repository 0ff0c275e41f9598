package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/net"
)

// host reads the sockets of this host.
type host struct {
	procfs
	source  string // one of sources
	log     debugLog
	spaces  []namespace // found once, so that all of a run is about the same ones
	holders *holders

	mutex sync.Mutex
	units *units
}

// openHost finds what is to be read.
func openHost(config *options) (h *host, err error) {
	h = &host{procfs: "/proc", source: config.source, log: config.log}
	h.holders = newHolders(h.procfs, h.log, h.userText)
	finder := namespaceFinder{h.procfs, netnsFolder, func(pid int32) string { return h.holders.ofProcess(pid).process }}
	h.spaces, err = finder.find(config.netns, config.levels.by.has(byNetns) || config.netns == netnsAll)
	for _, space := range h.spaces {
		h.log.printf("network namespace %q, inode %d (0 is our own)", space.name, space.inode)
	}
	return h, err
}

// userText returns the name of a user, or the id where it has none.
func (h *host) userText(id uint32) string {
	if overflow, exists := h.overflowUser(); exists && id == overflow {
		return hidden
	}
	if name, isKnown := userName(id); isKnown {
		return givenName(name)
	}
	return strconv.FormatUint(uint64(id), 10)
}

// unit returns the name of the unit with the control group, and whether there are
// any.
func (h *host) unit(id uint64) (name string, hasUnits bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.units == nil {
		h.units = h.newUnits()
	}
	return h.units.name(id), h.units.root != ""
}

// dumps returns what is to be read for the tallies: for each network namespace
// one dump or two of TCP and one of UDP, and for each of TCP another one of the
// sockets that only have a port, where a tally counts them. Last come the sockets
// that were late.
func (h *host) dumps(ctx context.Context, tallies []*tally) (all []dump) {
	p := &pass{host: h, ctx: ctx, fields: fieldsOf(tallies)}
	portable := newGopsutilReader(ctx, h.log, tallies, func(s *socket) {
		if s.Pid > 0 {
			held := h.holders.ofProcess(s.Pid)
			s.process, s.holders = held.process, held.holders
		}
		s.user = hidden
		if len(s.Uids) > 0 {
			s.user = h.userText(uint32(s.Uids[0]))
		}
	})
	for _, space := range h.spaces {
		told := sync.OnceValues(func() (totals, error) { return space.totals(h.procfs) })
		isQuick := false
		if len(h.spaces) == 1 {
			t, err := told()
			isQuick = err == nil && t["tcp"]+t["tcp6"] < fewSockets
		}
		add := func(types []string, isBound bool) {
			diag := &sockDiag{pass: p, space: space, tallies: tallies, types: types, isBound: isBound, told: told}
			diag.dial = func() (int, error) { return space.dial(ctx) }
			d := dump{name: types[0], sources: diag.sources(), isQuick: isQuick || isUDP(types[0])}
			if space.name != "" {
				d.where = " of the network namespace " + cleanName(space.name)
			}
			if h.source == sourceGopsutil { // for our own namespace only
				d.sources = []source{{sourceGopsutil, portable.reading(types, space.name)}}
			}
			all = append(all, d)
		}
		for _, types := range h.typesTogether(tallies, isQuick) {
			types = slices.DeleteFunc(types, func(socketType string) bool { return statesFor(socketType, tallies) == 0 })
			if len(types) > 0 {
				add(types, false)
			}
			if len(types) > 0 && p.fields&fieldBound != 0 && !isUDP(types[0]) { // the kernel keeps them in another table
				add(types, true)
			}
		}
	}
	if p.fields&fieldProcess != 0 {
		all = append(all, dump{isLast: true, sources: []source{{"", p.readLate}}})
	}
	return all
}

// typesTogether returns the types that are read in one dump: a walk through all
// TCP sockets costs less than two, but two processors list many sooner than one.
func (h *host) typesTogether(tallies []*tally, isQuick bool) [][]string {
	isListed, isCounted := false, false
	for _, t := range tallies {
		if t.includesEstablished("tcp", "tcp6") {
			isFew := t.bounds != nil && len(t.bounds(h.spaces[0].inode)) > 0
			isListed, isCounted = isListed || !t.isPlain() && !isFew, isCounted || t.isPlain()
		}
	}
	if len(h.spaces) == 1 && !isQuick && isListed && !isCounted {
		return [][]string{{"tcp"}, {"tcp6"}, {"udp", "udp6"}}
	}
	return [][]string{{"tcp", "tcp6"}, {"udp", "udp6"}}
}

// pass is one reading of the host.
type pass struct {
	*host
	ctx    context.Context
	fields fields

	mutex sync.Mutex
	late  []lateSocket
}

// lateSocket is a socket whose process was not found: it may have come after
// the processes were looked through.
type lateSocket struct {
	socket
	inode uint32
}

// maxLate is how many sockets of a dump wait.
const maxLate = 10_000

// mayComeLate tells whether another look may find processes that the first one
// has not: not where others are hidden from this user.
func (p *pass) mayComeLate() bool { return p.holders.isWhole || os.Geteuid() == 0 }

// wait keeps the sockets for readLate.
func (p *pass) wait(sockets []lateSocket) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.late = append(p.late, sockets...)
}

// readLate counts the sockets that waited, after another look for their
// processes. Those that are still not found were closed meanwhile, or are those
// of hidden processes.
func (p *pass) readLate(to counter) error {
	if len(p.late) == 0 {
		return p.holders.unread
	}
	if err := p.holders.findAgain(p.ctx); err != nil {
		return err
	}
	for i := range p.late {
		s := &p.late[i]
		held, _ := p.holders.of(s.inode)
		s.process, s.holders = held.process, held.holders
		to.add(&s.socket)
	}
	return p.holders.unread
}

// readConnections returns gopsutil's records, with the owner of each socket
// only where that is asked for.
func readConnections(ctx context.Context, kind string, asked fields) ([]net.ConnectionStat, error) {
	// Without /proc gopsutil finds no IPv6 sockets, and no fault.
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		return nil, err
	}
	// Whatever the environment has as HOST_PROC, the namespace is that of /proc.
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: "/proc"})
	if asked&fieldUser != 0 {
		return net.ConnectionsWithContext(ctx, kind)
	}
	return net.ConnectionsWithoutUidsWithContext(ctx, kind)
}
