import pytest

from sgs.planning.byte_size import bytes_of, readable_bytes


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (7, 7),
        ("7", 7),
        (" 7 B ", 7),
        ("1.5KiB", 1536),
        ("1.5kB", 1500),
        ("1.5 KB", 1500),
        ("2MiB", 2 * 1024 * 1024),
        ("2 MB", 2_000_000),
        ("3GiB", 3 * 1024 * 1024 * 1024),
        ("3GB", 3_000_000_000),
        ("1TiB", 1024 * 1024 * 1024 * 1024),
        ("1TB", 1_000_000_000_000),
    ],
)
def test_units_are_binary_with_an_i_and_decimal_without(written: int | str, size: int) -> None:
    assert bytes_of(written) == size


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024, "1 MiB"),
        (3 * 1024**4, "3 TiB"),
        (3000 * 1024**4, "3000 TiB"),
    ],
)
def test_size_is_written_in_the_largest_unit_of_which_there_is_one(size: int, written: str) -> None:
    assert readable_bytes(size) == written
