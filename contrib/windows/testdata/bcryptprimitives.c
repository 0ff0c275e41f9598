/*
 * Programs made with Go take their random numbers from ProcessPrng in
 * bcryptprimitives.dll, which Wine 8 does not have yet. This is that one
 * function, on top of one that Wine does have, for the tests only.
 */
#include <windows.h>

/* RtlGenRandom, under the name by which advapi32.dll exports it. */
BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
	while (length > 0) {
		ULONG part = length > MAXLONG ? MAXLONG : (ULONG)length;
		if (!SystemFunction036(data, part))
			return FALSE;
		data += part;
		length -= part;
	}
	return TRUE;
}
