//go:build !windows

package main

import (
	"os/user"
	"strconv"
)

// userName returns the name of the user with the id, the first one where there
// are several.
func userName(id uint32) (name string, isKnown bool) {
	account, err := user.LookupId(strconv.FormatUint(uint64(id), 10))
	if err != nil {
		return "", false
	}
	return account.Username, account.Username != ""
}

// userID returns the id of the user with the name.
func userID(name string) (id uint32, isKnown bool) {
	account, err := user.Lookup(name)
	if err != nil {
		return 0, false
	}
	number, err := strconv.ParseUint(account.Uid, 10, 32)
	return uint32(number), err == nil
}

// accountName returns none: only Windows has accounts with several names.
func accountName(string) (name string, isAccount bool) { return "", false }
