package main

import (
	"context"
	"net/netip"
	"time"
)

// sourceTables is how a reading names the tables of the IP Helper API.
const sourceTables = "Windows' tables"

// ownDumps returns a table for each type.
func (h *host) ownDumps(ctx context.Context, tallies []*tally) (all []dump) {
	asked := fieldsOf(tallies)
	known := newProcessTable(h.log, asked&fieldUser != 0)
	for i := range ipTables {
		from := &tableReader{ipTable: &ipTables[i], ctx: ctx, log: h.log, asked: asked, processes: known, addresses: map[netip.Addr]string{}}
		if anyCounts(from.socketType, tallies) {
			all = append(all, dump{name: from.socketType, sources: []source{{sourceTables, from.read}}})
		}
	}
	return all
}

// tableReader counts the sockets of a table.
type tableReader struct {
	*ipTable
	ctx       context.Context
	log       debugLog
	asked     fields
	processes *processTable
	addresses map[netip.Addr]string // in their usual form
}

// read counts the sockets, those that listen first: they tell the direction of
// the others. On Windows a connection that nobody has accepted belongs to its listener.
func (r *tableReader) read(to counter) error {
	started := time.Now()
	content, err := r.fetch(r.ctx)
	var rows [][]byte
	if err == nil {
		rows, err = r.rows(content)
	}
	r.log.done(len(rows), err, started, "table of %s", r.socketType)
	if err == nil && r.asksForOwners() {
		ids := map[uint32]bool{}
		for _, record := range rows {
			ids[r.ownerIn(record)] = true
		}
		err = r.processes.find(ids)
	}
	if err != nil {
		return err
	}
	listening := listeners{}
	for _, isFirst := range []bool{true, false} {
		for _, record := range rows {
			if isFirst == (r.statusOf(record) == "LISTEN") {
				s := r.socket(record)
				if r.asked&fieldDirection != 0 {
					listening.orient(&s, true)
				}
				to.add(&s)
			}
		}
	}
	return nil
}

func (r *tableReader) asksForOwners() bool { return r.asked&(fieldProcess|fieldUser) != 0 }

func (r *tableReader) socket(record []byte) socket {
	s := socket{proto: r.socketType, netns: hidden, idle: -1}
	s.Status, s.Laddr.Port, s.Raddr.Port = r.statusOf(record), portIn(record, r.localPort), portIn(record, r.remotePort)
	s.Laddr.IP, s.Raddr.IP = r.addressIn(record, r.local), nothing
	if s.Raddr.Port > 0 {
		s.Raddr.IP = r.addressIn(record, r.remote)
	}
	if r.asksForOwners() {
		s.owner = r.processes.owner(r.ownerIn(record), s.Status)
	}
	return s
}

// addressIn returns the address at a place in a row, where it matters.
func (r *tableReader) addressIn(record []byte, place int) string {
	if r.asked&(fieldLocalAddress|fieldRemoteAddress|fieldDirection) == 0 {
		return ""
	}
	address, _ := netip.AddrFromSlice(record[place : place+r.address])
	text, isKnown := r.addresses[address]
	if !isKnown {
		text = usualAddress(address)
		r.addresses[address] = text
	}
	return text
}
