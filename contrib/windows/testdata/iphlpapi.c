/*
 * An iphlpapi.dll whose tables are what the test says in the environment, one
 * variable for each table: IPHLPAPI_TCP, IPHLPAPI_TCP6, IPHLPAPI_UDP and
 * IPHLPAPI_UDP6. A variable is a list of what the calls for that table return,
 * one after the other, the last one again and again: an error as a hexadecimal
 * number, or "rows N" for a table of N sockets. A table that does not fit into
 * the buffer is ERROR_INSUFFICIENT_BUFFER, as from Windows.
 *
 * IPHLPAPI_PID is the process that they belong to, "self" the one that asks.
 */
#include <windows.h>

#define AF_INET 2 /* winsock2.h */

enum { tcp, tcp6, udp, udp6, kinds };

static const char *const names[kinds] = { "IPHLPAPI_TCP", "IPHLPAPI_TCP6", "IPHLPAPI_UDP", "IPHLPAPI_UDP6" };
static const DWORD row_words[kinds] = { 6, 14, 3, 7 };
static const DWORD port_word[kinds] = { 2, 5, 1, 5 };
static const DWORD state_word[kinds] = { 0, 12, 0, 0 };
static LONG calls[kinds];

/* The number that stands at text, which ends behind it. */
static DWORD number(const char **text, DWORD base)
{
	DWORD value = 0;
	for (;; ++*text) {
		char c = **text;
		DWORD digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : base;
		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}

/* What htons of ws2_32.dll does. */
static DWORD network_order(DWORD port) { return (port & 0xff) << 8 | port >> 8; }

static DWORD table(int kind, DWORD *to, DWORD *size)
{
	char buffer[256];
	const char *text = buffer;
	LONG call = InterlockedIncrement(&calls[kind]);
	DWORD rows, needed, pid;

	if (!GetEnvironmentVariableA("IPHLPAPI_PID", buffer, sizeof buffer))
		buffer[0] = 0;
	pid = buffer[0] == 's' ? GetCurrentProcessId() : number(&text, 10);
	if (!GetEnvironmentVariableA(names[kind], buffer, sizeof buffer))
		return ERROR_INVALID_FUNCTION;
	for (text = buffer; --call > 0;) {
		const char *next = text;
		while (*next && *next != ',')
			next++;
		if (!*next)
			break;
		text = next + 1;
	}
	if (*text != 'r')
		return number(&text, 16);
	text += 5; /* "rows " */
	rows = number(&text, 10);
	needed = 4 * (1 + rows * row_words[kind]);
	if (*size < needed) {
		*size = needed;
		return ERROR_INSUFFICIENT_BUFFER;
	}
	*size = needed;
	*to++ = rows;
	for (DWORD i = 0; i < rows; i++, to += row_words[kind]) {
		for (DWORD word = 0; word < row_words[kind]; word++)
			to[word] = 0;
		if (kind < udp)
			to[state_word[kind]] = 2; /* MIB_TCP_STATE_LISTEN */
		to[port_word[kind]] = network_order(1 + i % 65535) | 0xdead0000; /* only 16 bits count */
		to[row_words[kind] - 1] = pid;
	}
	return NO_ERROR;
}

__declspec(dllexport) DWORD WINAPI GetExtendedTcpTable(PVOID to, PDWORD size, BOOL order, ULONG family, int class, ULONG reserved)
{
	return table(family == AF_INET ? tcp : tcp6, to, size);
}

__declspec(dllexport) DWORD WINAPI GetExtendedUdpTable(PVOID to, PDWORD size, BOOL order, ULONG family, int class, ULONG reserved)
{
	return table(family == AF_INET ? udp : udp6, to, size);
}
