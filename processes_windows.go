package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Processes that Windows always has. The idle one stands for none.
const (
	pidIdle   = 0
	pidSystem = 4
)

// processTable knows the names of the processes, which need no rights, and their
// users, which do.
type processTable struct {
	log       debugLog
	withUsers bool

	mutex    sync.Mutex
	names    map[uint32]string
	known    map[uint32]owner
	accounts map[string]string // by security identifier
}

func newProcessTable(log debugLog, withUsers bool) *processTable {
	return &processTable{log: log, withUsers: withUsers, known: map[uint32]owner{}, accounts: map[string]string{}}
}

// find takes a snapshot of all processes, unless the last one has those with
// the ids. A process whose sockets have been read before is in it, or has ended.
func (p *processTable) find(ids map[uint32]bool) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	isMissing := p.names == nil
	for id := range ids {
		_, isThere := p.names[id]
		isMissing = isMissing || !isThere
	}
	if !isMissing {
		return nil
	}
	started := time.Now()
	names, err := processNames()
	p.log.done(len(names), err, started, "processes")
	if err != nil {
		return fmt.Errorf("finding the processes: %w", err)
	}
	p.names = names
	clear(p.known)
	return nil
}

// processNames returns the names of the programs of all processes, by their ids:
// see CreateToolhelp32Snapshot and PROCESSENTRY32W in tlhelp32.h.
func processNames() (map[uint32]string, error) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(snapshot)
	names := map[uint32]string{}
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		names[entry.ProcessID] = givenName(windows.UTF16ToString(entry.ExeFile[:]))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, err
	}
	return names, nil
}

// owner returns whose a socket with the status is. Sockets that outlive their
// process have the id of the idle process, or of one that has ended.
func (p *processTable) owner(id uint32, status string) owner {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	name, isThere := p.names[id]
	switch {
	case id == pidIdle && status != "TIME_WAIT" && status != "SYN_RECV":
		return owner{process: hidden, user: hidden}
	case id == pidIdle || !isThere:
		return owner{process: nothing, user: nothing}
	}
	one, isKnown := p.known[id]
	if !isKnown {
		one = owner{process: name}
		if p.withUsers {
			one.user = p.user(id)
		}
		one.holders = []holder{{int32(id), name, one.user}}
		p.known[id] = one
	}
	return one
}

// user returns the name of the user that a process runs as, hidden where this
// user may not ask for it.
func (p *processTable) user(id uint32) string {
	account, err := accountOf(id)
	if err != nil {
		p.log.printf("the user of process %d: %v", id, err)
		return hidden
	}
	key := account.String()
	if _, isKnown := p.accounts[key]; !isKnown {
		p.accounts[key] = givenName(accountText(account))
	}
	return p.accounts[key]
}

// accountOf returns the account that a process runs as. Nobody may ask for that
// of the kernel's own process.
func accountOf(id uint32) (*windows.SID, error) {
	if id == pidSystem {
		return windows.CreateWellKnownSid(windows.WinLocalSystemSid)
	}
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, id)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(process)
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return nil, err
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, err
	}
	return user.User.Sid.Copy()
}
