package main

import (
	"strings"

	"golang.org/x/sys/windows"
)

// userName returns none: users have no numbers on Windows.
func userName(uint32) (name string, isKnown bool) { return "", false }

func userID(string) (id uint32, isKnown bool) { return 0, false }

// accountName returns the name of a user as it is told of processes, for any
// other one that Windows knows the user by.
func accountName(typed string) (name string, isAccount bool) {
	if !isTold(typed) || strings.ContainsAny(typed, "*?") {
		return "", false
	}
	account, isAccount := findAccount(typed)
	if isAccount {
		name = accountText(account)
	}
	return name, isAccount
}

// findAccount finds the account with a name: of a user, a service, or an
// application pool, with or without its domain, or as it is shown, which leaves
// no backslash; or with a security identifier.
func findAccount(name string) (account *windows.SID, exists bool) {
	if account, err := windows.StringToSid(name); err == nil {
		return account, true
	}
	names := []string{name}
	for i, letter := range name {
		if letter == '_' {
			names = append(names, name[:i]+`\`+name[i+1:])
		}
	}
	for _, each := range names {
		if account, _, _, err := windows.LookupSID("", each); err == nil {
			return account, true
		}
	}
	return nil, false
}

// accountText returns the name of an account with its domain, or its security
// identifier where it has none any more.
func accountText(account *windows.SID) string {
	name, domain, _, err := account.LookupAccount("")
	switch {
	case err != nil:
		return account.String()
	case domain == "":
		return name
	}
	return domain + `\` + name
}
