! Fortran: arrays, formatted and unformatted files, modules, OpenMP, command line, recursion. The output is compared with native.
module kinds
  use, intrinsic :: iso_fortran_env, only: real64, int64
  implicit none
  type point
    real(real64) :: x, y
  end type
contains
  pure recursive function gcd(a, b) result(g)
    integer(int64), intent(in) :: a, b
    integer(int64) :: g
    if (b == 0) then
      g = a
    else
      g = gcd(b, mod(a, b))
    end if
  end function
end module

program everything
  use kinds
  use omp_lib
  implicit none
  integer, parameter :: n = 200
  real(real64), allocatable :: a(:, :), b(:, :), c(:, :), d(:)
  real(real64) :: total, expected
  integer :: i, j, k, unit, status, length
  character(len=80) :: text
  type(point) :: points(100)

  allocate (a(n, n), b(n, n), c(n, n))
  do j = 1, n
    do i = 1, n
      a(i, j) = real(i + j, real64)
      b(i, j) = real(mod(i * j, 7), real64)
    end do
  end do
  c = matmul(a, b)
  total = 0
  !$omp parallel do reduction(+:total) private(i, k) num_threads(4)
  do j = 1, n
    do k = 1, n
      do i = 1, n
        total = total + a(i, k) * b(k, j)
      end do
    end do
  end do
  !$omp end parallel do
  expected = sum(c)
  if (total /= expected) then
    print *, 'FAIL: sums differ', total, expected
    stop 1
  end if
  print '(a, f20.3)', 'matrix sum', total
  print '(a, es24.15)', 'norm', sqrt(sum(c**2))

  ! formatted and unformatted files in the working directory
  open (newunit=unit, file='fortran.txt', status='new', action='readwrite')
  do i = 1, 1000
    write (unit, '(i6, f12.4)') i, sqrt(real(i, real64))
  end do
  rewind (unit)
  expected = 0
  do i = 1, 1000
    read (unit, *, iostat=status) j, total
    if (status /= 0 .or. j /= i) stop 2
    expected = expected + total
  end do
  close (unit, status='delete')
  print '(a, f14.4)', 'square roots', expected

  points%x = [(real(i, real64), i=1, 100)]
  points%y = -points%x
  open (newunit=unit, file='fortran.bin', form='unformatted', status='new', action='readwrite')
  write (unit) points
  rewind (unit)
  points%x = 0
  read (unit) points
  close (unit, status='delete')
  if (sum(points%x) /= 5050 .or. sum(points%y) /= -5050) stop 3

  ! growth of an allocatable, large automatic arrays
  d = [real(real64) ::]
  do i = 1, 5000
    d = [d, real(i, real64)]
  end do
  print '(a, i0, a, f12.1)', 'grown to ', size(d), ' sum ', sum(d)
  print '(a, i0)', 'gcd ', gcd(1071_int64 * 1000003_int64, 462_int64 * 1000003_int64)
  call large(300000)

  call get_command_argument(1, text, length, status)
  print '(a, i0, a, i0, 3a)', 'arguments ', command_argument_count(), ' length ', length, ' <', trim(text), '>'
  !$omp parallel num_threads(3)
  !$omp single
  print '(a, i0)', 'threads ', omp_get_num_threads()
  !$omp end single
  !$omp end parallel
contains
  subroutine large(m)
    integer, intent(in) :: m
    real(real64) :: work(m)
    work = 1.5
    print '(a, f12.1)', 'automatic array ', sum(work)
  end subroutine
end program
